"""Who sees whom in a picture, by definition.

On an axis of L places the window of place t is the k places from a(t) = max(0, min(t - k // 2,
L - k)) on: centred, and pushed inward at the borders (Hassani et al., 2022, "Neighborhood
Attention Transformer", arXiv 2204.07143). With dilation d that holds among the places with the
same remainder by d. A token sees the product of its window of rows and its window of columns.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cab.kernels.operator import Case, Inputs
from cab.kernels.softmax.reference import eager_softmax

Pair = tuple[int, int]


def neighborhood_reference(inputs: Inputs, case: Case, rows: Int[Tensor, " R"]) -> Tensor:
    """Answer the queries `rows` in float64, one slice of them at a time."""
    q, k, v = (inputs[name].double() for name in "qkv")
    slices = [
        eager_softmax(q[:, :, some], k, v, ~visible(some, case.grid, case.window, case.dilation))
        for some in rows.split(256)
    ]
    return torch.cat(slices, dim=2)


def visible(
    tokens: Int[Tensor, " R"], grid: Pair, side: int, dilation: int = 1
) -> Bool[Tensor, "R N"]:
    """Return True where the tokens, numbered row by row, see a token of the picture."""
    height, width = grid
    others = torch.arange(height * width, device=tokens.device)
    rows = _near(tokens // width, others // width, height, side, dilation)
    columns = _near(tokens % width, others % width, width, side, dilation)
    return rows & columns


def window_start(t: Tensor, length: Tensor, side: int) -> Tensor:
    """Return a(t)."""
    return (t - side // 2).minimum(length - side).clamp(min=0)


def _near(t: Tensor, s: Tensor, length: int, side: int, dilation: int) -> Tensor:
    remainder = t % dilation
    start = window_start(t // dilation, (length - remainder + dilation - 1) // dilation, side)
    place = s // dilation - start[:, None]
    return (s % dilation == remainder[:, None]) & (place >= 0) & (place < side)


def seen_pairs(grid: Pair, side: int, dilation: int = 1) -> int:
    """How many pairs of tokens see each other: k places on an axis, or a whole lattice below k."""
    pairs = 1
    for length in grid:
        sizes = [len(range(first, length, dilation)) for first in range(min(dilation, length))]
        pairs *= sum(size * min(side, size) for size in sizes)
    return pairs
