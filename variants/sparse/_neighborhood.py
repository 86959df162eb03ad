"""Neighbourhood attention on images; a sequence is an image of one row.

Dimensions: B batch, H heads, N = R C tokens, E head width; on one axis of a lattice: D lattices
(the dilation), n tiles of b queries, each of which meets m keys.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import (
    Pair,
    absent_places,
    from_lattices,
    from_tiles,
    to_lattices,
    to_picture,
    to_tiles,
)


def attend_in_neighborhoods(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    key_padding_mask: Bool[Tensor, "B N"] | None,
    *,
    grid: Pair,
    kernel: Pair,
    dilation: Pair = (1, 1),
    stride: Pair = (1, 1),
    causal: bool = False,
) -> Float[Tensor, "B H N E"]:
    """Softmax of scaled queries over the product of a window on the rows and one on the columns.

    `window_start` says where a window begins. A picture ends with its last row and its last
    column that hold a token, so that padding to a larger picture moves no window. Causal windows
    are for pictures of one row, and end at the query.
    """
    absent = absent_places(k, key_padding_mask, grid)
    lattices = [to_lattices(to_picture(x, grid), dilation) for x in (q, k, v)]
    size = -(-grid[0] // dilation[0]), -(-grid[1] // dilation[1])  # of a lattice
    tile = min(kernel[0], size[0]), min(kernel[1], size[1])
    reach = tile[0] - 1, tile[1] - 1  # a window pushed inward lies wholly on one side
    queries = to_tiles(lattices[0], tile)
    keys, values = (to_tiles(x, tile, reach) for x in lattices[1:])
    beside = to_tiles(to_lattices(absent, dilation, fill=True), tile, reach, fill=True)
    rows, columns = (
        _visible(lengths, size[axis], kernel[axis], dilation[axis], stride[axis], causal)
        for axis, lengths in enumerate(_extent(absent))
    )
    rows = rows[:, :, None, :, None, :, None, :, None]
    columns = columns[:, None, :, None, :, None, :, None, :]
    visible = (rows & columns).flatten(-2, -1).flatten(-3, -2)[:, None]
    mixed = attend_visible(queries, keys, values, ~visible | beside.mT)
    return from_lattices(from_tiles(mixed, tile, size), grid).flatten(2, 3)


def window_start(
    t: Int[Tensor, "*n"], length: Int[Tensor, "*B"], kernel: int, stride: int = 1
) -> Int[Tensor, "*b"]:
    """Return where the window of position t begins: centred, pushed inward at both ends.

    With a stride, `stride` queries share the window of the one in their middle.
    """
    leader = (t // stride * stride + stride // 2).minimum(length - 1)
    return (leader - kernel // 2).minimum(length - kernel).clamp(min=0)


def _extent(absent: Bool[Tensor, "B 1 R C 1"]) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """Count the rows and the columns up to the last that holds a token."""
    present = ~absent[:, 0, :, :, 0]
    rows, columns = present.any(dim=2), present.any(dim=1)
    return _last(rows), _last(columns)


def _last(present: Bool[Tensor, "B L"]) -> Int[Tensor, " B"]:
    place = torch.arange(1, present.shape[1] + 1, device=present.device)
    return (present * place).amax(dim=1)


def _visible(
    lengths: Int[Tensor, " B"], size: int, kernel: int, dilation: int, stride: int, causal: bool
) -> Bool[Tensor, "B D n b m"]:
    """Which of the keys beside a tile its queries see, along one axis of `size` places."""
    block = min(kernel, size)
    t = torch.arange(-(-size // block) * block, device=lengths.device).view(-1, block, 1)
    s = t[:, :1] + torch.arange(1 - block, 2 * block - 1, device=lengths.device)
    remainder = torch.arange(dilation, device=lengths.device)
    # In the lattice of a remainder stand the positions remainder, remainder + dilation, ...
    length = (lengths[:, None] - remainder + dilation - 1) // dilation
    if causal:
        start = t // stride * stride + stride - kernel
        visible = (s >= start) & (s <= t)
        return visible.expand(*length.shape, *visible.shape)
    start = window_start(t, length[:, :, None, None, None], kernel, stride)
    return (s >= start) & (s < start + kernel)
