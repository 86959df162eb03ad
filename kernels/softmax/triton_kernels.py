"""Softmax attention by Triton kernels: nothing of size N x M is ever in memory.

The mathematics is in `_triton_forward.py`, `_triton_query_gradient.py` and
`_triton_key_gradient.py`; here shapes are checked, tiles chosen and kernels launched.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.kernels._derivatives import first_derivative_only
from cab.kernels._offered import WIDEST
from cab.kernels._triton import (
    LOG2_E,
    check_tensors,
    dot_precision,
    has_warp_groups,
    power_of_two,
    rows_contiguous,
    strides_of,
)
from cab.kernels.softmax._band import Band, band
from cab.kernels.softmax._blocks import BlockLists, block_lists, mask_of_chosen
from cab.kernels.softmax._triton_forward import softmax_forward_kernel
from cab.kernels.softmax._triton_key_gradient import softmax_key_gradient_kernel
from cab.kernels.softmax._triton_query_gradient import (
    softmax_delta_kernel,
    softmax_query_gradient_kernel,
)


class Tiles(NamedTuple):
    """How a kernel cuts its work: queries and keys of a tile, warps, loads in flight."""

    queries: int
    keys: int
    warps: int
    stages: int


class Choice(NamedTuple):
    """The tiles of the three kernels."""

    forward: Tiles
    query_gradient: Tiles
    key_gradient: Tiles


WITH_WARP_GROUPS = {
    64: Choice(Tiles(128, 128, 8, 3), Tiles(128, 64, 8, 3), Tiles(64, 64, 4, 3)),
    WIDEST: Choice(Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(32, 128, 8, 3)),
}
THROUGH_REGISTERS = {
    64: Choice(Tiles(128, 64, 8, 3), Tiles(64, 32, 4, 2), Tiles(32, 64, 4, 2)),
    WIDEST: Choice(Tiles(128, 32, 8, 3), Tiles(64, 64, 8, 2), Tiles(64, 64, 8, 2)),
}
"""Tiles by the widest head that they serve (see `has_warp_groups`); the tests hold each of them
to a budget of registers."""


CANDIDATES = {
    "forward": (
        *(
            Tiles(128, 128, 8, 3),
            Tiles(128, 128, 8, 2),
            Tiles(128, 64, 8, 3),
            Tiles(128, 64, 4, 3),
        ),
        *(Tiles(128, 64, 8, 4), Tiles(64, 128, 4, 3), Tiles(64, 64, 4, 3)),
    ),
    "query_gradient": (
        *(Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 3), Tiles(64, 128, 4, 2)),
    ),
    "key_gradient": (
        *(Tiles(64, 64, 4, 3), Tiles(32, 128, 8, 3), Tiles(64, 128, 8, 2), Tiles(64, 128, 8, 3)),
    ),
}
"""What `tests/kernels/tune.py` tries on a GPU, to choose the tables above."""


def tiles_for(q: Tensor, width: int) -> Choice:
    """Return the tiles for a head width; float32 takes smaller ones, its elements being larger.

    Raises:
        ValueError: a head wider than any tile.
    """
    if width > WIDEST:
        raise ValueError(f"Heads of width {width} have no kernel; the widest is {WIDEST}.")
    if q.dtype == torch.float32:
        return Choice(*(Tiles(32, 32, 4, 1),) * 3)
    table = WITH_WARP_GROUPS if has_warp_groups(q.device) else THROUGH_REGISTERS
    return next(choice for widest, choice in table.items() if width <= widest)


def tiles_of_blocks(block: int, width: int, dtype: torch.dtype) -> Tiles:
    """Return tiles that are the blocks of a mask.

    Raises:
        ValueError: the blocks, or the heads, are too large for a multiprocessor's memory.
    """
    if width > WIDEST or block * width * dtype.itemsize > 16384:
        raise ValueError(
            f"Blocks of {block} tokens in {dtype} with heads of {width} have no kernel; a block "
            f"takes at most 16,384 bytes, and the widest head is {WIDEST}."
        )
    return Tiles(block, block, 4 if block * width <= 64 * 64 else 8, 2)


@dataclass(frozen=True)
class _Plan:
    """All of a call that is not differentiated."""

    band: Band
    scale: float
    absent: Bool[Tensor, "B M"] | None
    by_query: BlockLists | None
    by_key: BlockLists | None
    tiles: Choice


def triton_softmax(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B G M K"],
    v: Float[Tensor, "B G M V"],
    *,
    causal: bool = False,
    window: int | None = None,
    alignment: str = "bottom_right",
    key_padding_mask: Bool[Tensor, "B M"] | None = None,
    block_mask: Bool[Tensor, "_ _ n m"] | None = None,
    block: int = 64,
    scale: float | None = None,
    tiles: Tiles | Choice | None = None,
) -> Float[Tensor, "B H N V"]:
    """Return sum_j softmax_j(scale q_i . k_j) v_j over the visible keys; 0 where none is.

    Args:
        q: queries.
        k: keys; G divides H, and H / G neighbouring query heads share a key head.
        v: values.
        causal: hide the keys after the query.
        window: hide keys `window` or more positions away, or None.
        alignment: where the diagonal of a rectangle begins (`top_left`) or ends (`bottom_right`).
        key_padding_mask: True hides a key; it may hold NaN.
        block_mask: True where a block of queries meets a block of keys; the first axes are B and
            H, or 1 if shared; n = ceil(N / block), m = ceil(M / block).
        block: tokens of a block in the mask, a power of two from 16 on.
        scale: of the scores, above 0; 1 / sqrt(K) if None.
        tiles: other tiles than the committed ones, the same for all three kernels or one each.

    Raises:
        ValueError: sizes that do not fit, or tensors on which Triton cannot run.
    """
    check_tensors(softmax_forward_kernel, q, k, v)
    _check_sizes(q, k, v, block_mask, block)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if scale <= 0:
        raise ValueError(f"scale = {scale}; it must be above 0.")
    width = max(q.shape[-1], v.shape[-1])
    if block_mask is not None:
        tiles = tiles_of_blocks(block, width, q.dtype)
    plan = _Plan(
        band(q.shape[2], k.shape[2], causal=causal, window=window, alignment=alignment),
        scale,
        key_padding_mask,
        None if block_mask is None else block_lists(block_mask, *q.shape[:2]),
        None if block_mask is None else block_lists(block_mask.mT, *q.shape[:2]),
        Choice(tiles, tiles, tiles) if isinstance(tiles, Tiles) else tiles or tiles_for(q, width),
    )
    return _Softmax.apply(rows_contiguous(q), rows_contiguous(k), rows_contiguous(v), plan)


def triton_block_gather(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B G M K"],
    v: Float[Tensor, "B G M V"],
    chosen: Int[Tensor, "B H n top"],
    *,
    block: int = 64,
    **options: Any,
) -> Float[Tensor, "B H N V"]:
    """Return softmax attention in which each block of queries sees the key blocks chosen for it.

    chosen holds indices of key blocks, -1 for none; a block named twice counts once. The choice
    is not differentiated. Options are those of `triton_softmax`.
    """
    mask = mask_of_chosen(chosen, -(-k.shape[2] // block))
    return triton_softmax(q, k, v, block_mask=mask, block=block, **options)


def _check_sizes(q: Tensor, k: Tensor, v: Tensor, block_mask: Tensor | None, block: int) -> None:
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"{k.shape[1]} key heads do not divide {q.shape[1]} query heads.")
    if 0 in (*q.shape, *k.shape, *v.shape):
        raise ValueError(f"A size is 0: q {tuple(q.shape)}, k {tuple(k.shape)}.")
    if block_mask is None:
        return
    if block < 16 or block & (block - 1):
        raise ValueError(f"block = {block}; it is a power of two from 16 on.")
    expected = -(-q.shape[2] // block), -(-k.shape[2] // block)
    if block_mask.shape[2:] != expected:
        raise ValueError(
            f"block_mask is {tuple(block_mask.shape)}; with blocks of {block} tokens its last "
            f"axes are {expected}."
        )


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: _Plan) -> Tensor:
        batch, heads, queries = q.shape[:3]
        # Head by head within a token, so that merging the heads afterwards copies nothing.
        out = q.new_empty(batch, queries, heads, v.shape[-1]).transpose(1, 2)
        log_sum = torch.empty(batch, heads, queries, dtype=torch.float32, device=q.device)
        tiles = plan.tiles.forward
        grid = (triton.cdiv(queries, tiles.queries), batch * heads)
        lists = plan.by_query or (q, q)  # a pointer that is never read
        softmax_forward_kernel[grid](
            q, k, v, out, log_sum, _bytes(plan.absent, q), *lists,
            *strides_of(q, k, v, out), *_shared_arguments(q, k, plan, plan.by_query),
            **_constants(q, v, plan, tiles, plan.by_query),
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.plan = plan
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, log_sum = ctx.saved_tensors
        plan: _Plan = ctx.plan
        above = rows_contiguous(above)
        (batch, heads, queries), keys = q.shape[:3], k.shape[2]
        delta = torch.empty_like(log_sum)
        absent = _bytes(plan.absent, q)
        softmax_delta_kernel[triton.cdiv(queries, 64), batch * heads](
            out, above, delta, *strides_of(out, above), heads, queries, v.shape[-1], 64,
            power_of_two(v.shape[-1]), num_warps=4,
        )  # fmt: skip

        tiles, lists = plan.tiles.query_gradient, plan.by_query or (q, q)
        query_gradient = torch.empty_like(q)
        softmax_query_gradient_kernel[triton.cdiv(queries, tiles.queries), batch * heads](
            q, k, v, above, log_sum, delta, absent, *lists, query_gradient,
            *strides_of(q, k, v, above, query_gradient),
            *_shared_arguments(q, k, plan, plan.by_query),
            **_constants(q, v, plan, tiles, plan.by_query),
        )  # fmt: skip

        tiles, lists = plan.tiles.key_gradient, plan.by_key or (q, q)
        key_gradient, value_gradient = torch.empty_like(k), torch.empty_like(v)
        softmax_key_gradient_kernel[triton.cdiv(keys, tiles.keys), batch * k.shape[1]](
            q, k, v, above, log_sum, delta, absent, *lists, key_gradient, value_gradient,
            *strides_of(q, k, v, above, key_gradient, value_gradient),
            *_shared_arguments(q, k, plan, plan.by_key),
            **_constants(q, v, plan, tiles, plan.by_key),
        )  # fmt: skip
        return query_gradient, key_gradient, value_gradient, None


def _bytes(absent: Tensor | None, unread: Tensor) -> Tensor:
    return unread if absent is None else absent.contiguous().view(torch.uint8)


def _shared_arguments(q: Tensor, k: Tensor, plan: _Plan, lists: BlockLists | None) -> list[Any]:
    """Return what every kernel takes after the strides of its tensors."""
    strides = [0, 0, 0]
    if lists is not None:  # an axis of size 1 is shared by all
        strides = [
            s if n > 1 else 0
            for s, n in zip(lists[0].stride()[:2], lists[0].shape[:2], strict=True)
        ]
        strides.append(lists[0].stride(2))
    left, right = (0 if bound is None else bound for bound in plan.band)
    sizes = [q.shape[1], q.shape[1] // k.shape[1], q.shape[2], k.shape[2]]
    return [k.shape[2], *strides, *sizes, left, right, plan.scale * LOG2_E.value]


def _constants(
    q: Tensor, v: Tensor, plan: _Plan, tiles: Tiles, lists: BlockLists | None
) -> dict[str, Any]:
    return {
        "WIDTH": q.shape[-1],
        "VALUE_WIDTH": v.shape[-1],
        "BLOCK_QUERIES": tiles.queries,
        "BLOCK_KEYS": tiles.keys,
        "BLOCK_WIDTH": power_of_two(q.shape[-1]),
        "BLOCK_VALUE_WIDTH": power_of_two(v.shape[-1]),
        "HAS_LEFT": plan.band.left is not None,
        "HAS_RIGHT": plan.band.right is not None,
        "PADDED": plan.absent is not None,
        "LISTED": lists is not None,
        "PRECISION": dot_precision(q.dtype),
        "num_warps": tiles.warps,
        "num_stages": tiles.stages,
    }
