"""Images of tokens in raster order, divided into tiles or lattices.

Dimensions: B batch, H heads, N = R C tokens, E head width, rows R, columns C, tiles of b tokens, m
keys that a tile meets.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.variants.sparse._blocks import cut, join

Pair = tuple[int, int]
"""Something for the rows, and for the columns."""


def to_picture(x: Tensor, grid: Pair) -> Tensor:
    """Lay tokens (B, H, N, ...) out as (B, H, R, C, ...).

    Raises:
        ValueError: N is not R C.
    """
    if x.shape[2] != grid[0] * grid[1]:
        raise ValueError(f"{x.shape[2]} tokens are no picture of {grid[0]} x {grid[1]}.")
    return x.unflatten(2, grid)


def absent_places(
    k: Float[Tensor, "B H N E"], key_padding_mask: Bool[Tensor, "B N"] | None, grid: Pair
) -> Bool[Tensor, "B 1 R C 1"]:
    """Return the padding mask as a picture; without a mask nothing is padding."""
    if key_padding_mask is None:
        return torch.zeros(k.shape[0], 1, *grid, 1, dtype=torch.bool, device=k.device)
    return to_picture(key_padding_mask[:, None, :, None], grid)


def to_tiles(x: Tensor, tile: Pair, beside: Pair = (0, 0), fill: bool = False) -> Tensor:
    """Cut pictures (..., R, C, E) into tiles (..., n_R, n_C, m, E), each with what is beside it.

    The first tile begins at the first token. Places outside hold 0, or True if `fill`.
    """
    x = cut(x, -3, tile[0], beside[0], beside[0], fill)  # (..., n_R, m_R, C, E)
    x = cut(x, -2, tile[1], beside[1], beside[1], fill)  # (..., n_R, m_R, n_C, m_C, E)
    return x.transpose(-4, -3).flatten(-3, -2)


def from_tiles(x: Tensor, tile: Pair, grid: Pair) -> Tensor:
    """Undo `to_tiles` (nothing beside): (..., n_R, n_C, b, E) to (..., R, C, E)."""
    x = x.unflatten(-2, tile).transpose(-4, -3)
    return join(join(x, -3, grid[1]), -4, grid[0])


def to_lattices(x: Tensor, steps: Pair, fill: bool = False) -> Tensor:
    """Part pictures (..., R, C, E) into those with the same remainders by `steps`.

    Returns (..., steps_R, steps_C, R / steps_R, C / steps_C, E), with 0 (or True) beyond the end.
    """
    x = cut(x, -3, steps[0], fill=fill)  # (..., R / steps_R, steps_R, C, E)
    x = cut(x, -2, steps[1], fill=fill)  # (..., R / steps_R, steps_R, C / steps_C, steps_C, E)
    return x.movedim(-2, -5).movedim(-3, -5)


def from_lattices(x: Tensor, grid: Pair) -> Tensor:
    """Undo `to_lattices`."""
    x = x.movedim(-5, -3).movedim(-5, -2)
    return join(join(x, -3, grid[1]), -4, grid[0])
