"""Neighbourhood attention by Triton kernels: no key is gathered per query, no mask is in memory.

The mathematics is in `_triton_places.py`, `_triton_forward.py` and `_triton_gradients.py`.
"""

from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from cab.kernels._derivatives import first_derivative_only
from cab.kernels._triton import (
    LOG2_E,
    check_sizes,
    check_tensors,
    dot_precision,
    power_of_two,
    rows_contiguous,
    strides_of,
)
from cab.kernels.neighborhood._triton_forward import neighborhood_forward_kernel
from cab.kernels.neighborhood._triton_gradients import (
    neighborhood_key_gradient_kernel,
    neighborhood_query_gradient_kernel,
)
from cab.kernels.softmax._triton_query_gradient import softmax_delta_kernel


class Tile(NamedTuple):
    """A rectangle of places, as queries and as keys; a power of two each, 16 places at least."""

    rows: int
    columns: int


class Picture(NamedTuple):
    """Height, width, the side of a window, and the steps of the lattices on both axes."""

    height: int
    width: int
    side: int
    row_step: int
    column_step: int


def tile_for(picture: Picture, dtype: torch.dtype) -> Tile:
    """Return a tile as square as the lattices allow: 64 places, 32 of the larger float32."""
    places = 32 if dtype == torch.float32 else 64
    height = triton.next_power_of_2(-(-picture.height // picture.row_step))
    rows = min(8 if places == 64 else 4, height)
    return Tile(rows, places // rows)


def triton_neighborhood(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    *,
    grid: tuple[int, int],
    side: int,
    dilation: int = 1,
    tile: Tile | None = None,
) -> Float[Tensor, "B H N V"]:
    """Return softmax over the side x side nearest tokens of a picture, row by row in N.

    Args:
        q: queries; scores are divided by sqrt(K).
        k: keys.
        v: values.
        grid: (height, width), N of them in all; (1, N) is a sequence.
        side: k, the places of a window on both axes.
        dilation: steps between them.
        tile: another tile than the committed one, for all kernels.

    Raises:
        ValueError: sizes that do not fit, or tensors on which Triton cannot run.
    """
    check_tensors(neighborhood_forward_kernel, q, k, v)
    check_sizes(q, v)
    check_sizes(v, v)
    if grid[0] * grid[1] != q.shape[2] or k.shape[2] != q.shape[2]:
        raise ValueError(
            f"A picture of {grid[0]} x {grid[1]} has not {q.shape[2]} queries, {k.shape[2]} keys."
        )
    if side < 1 or dilation < 1:
        raise ValueError(f"side = {side} and dilation = {dilation} must be at least 1.")
    picture = Picture(*grid, side, min(dilation, grid[0]), min(dilation, grid[1]))
    tile = tile or tile_for(picture, q.dtype)
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    return _Neighborhood.apply(q, k, v, picture, tile)


class _Neighborhood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, picture: Picture, tile: Tile) -> Tensor:
        batch, heads, tokens = q.shape[:3]
        # Head by head within a token, so that merging the heads afterwards copies nothing.
        out = q.new_empty(batch, tokens, heads, v.shape[-1]).transpose(1, 2)
        log_sum = torch.empty(batch, heads, tokens, dtype=torch.float32, device=q.device)
        neighborhood_forward_kernel[_tiles(picture, tile), batch * heads](
            q, k, v, out, log_sum, *strides_of(q, k, v, out), heads, *picture, _scale(q),
            **_constants(q, v, tile), num_warps=4, num_stages=2,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.picture, ctx.tile = picture, tile
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, out, log_sum = ctx.saved_tensors
        picture, tile = ctx.picture, ctx.tile
        above = rows_contiguous(above)
        (batch, heads, tokens), width = q.shape[:3], v.shape[-1]
        delta = torch.empty_like(log_sum)
        softmax_delta_kernel[triton.cdiv(tokens, 64), batch * heads](
            out, above, delta, *strides_of(out, above), heads, tokens, width, 64,
            power_of_two(width), num_warps=4,
        )  # fmt: skip
        gradients = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
        given = (q, k, v, above, log_sum, delta)
        shared = (*strides_of(q, k, v, above), heads, *picture, _scale(q))
        constants, launch = _constants(q, v, tile), (_tiles(picture, tile), batch * heads)
        neighborhood_query_gradient_kernel[launch](
            *given, gradients[0], *shared, **constants, num_warps=8, num_stages=2
        )
        neighborhood_key_gradient_kernel[launch](
            *given, *gradients[1:], *shared, **constants, num_warps=8, num_stages=2
        )
        return *gradients, None, None


def _tiles(picture: Picture, tile: Tile) -> int:
    """Count the tiles of all lattices, each as large as the largest."""
    down = triton.cdiv(triton.cdiv(picture.height, picture.row_step), tile.rows)
    across = triton.cdiv(triton.cdiv(picture.width, picture.column_step), tile.columns)
    return picture.row_step * picture.column_step * down * across


def _scale(q: Tensor) -> float:
    return q.shape[-1] ** -0.5 * LOG2_E.value


def _constants(q: Tensor, v: Tensor, tile: Tile) -> dict[str, Any]:
    return {
        "WIDTH": q.shape[-1],
        "VALUE_WIDTH": v.shape[-1],
        "TILE_ROWS": tile.rows,
        "TILE_COLUMNS": tile.columns,
        "BLOCK_WIDTH": power_of_two(q.shape[-1]),
        "BLOCK_VALUE_WIDTH": power_of_two(v.shape[-1]),
        "PRECISION": dot_precision(q.dtype),
    }
