"""Splits that share no example, for generators that can draw the same example twice.

An easy level of a task may have so few different examples that independent draws repeat. Here
every example belongs to one split, by a hash of its tokens, whichever generator draws it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cab.seeding import generator as seeded
from cab.task import Split

PARTS = 8
"""Of so many parts of the examples, one is for validation, one for testing, the rest to train."""
SPLIT_OF_PART: dict[Split, slice] = {
    "valid": slice(0, 1),
    "test": slice(1, 2),
    "train": slice(2, PARTS),
}


def part_of(tokens: Tensor) -> Tensor:
    """Return the part, from 0 to below PARTS, of each row of integers (B, ...): (B,).

    The hash is a sum of the integers with fixed random weights, modulo 2^64, of which the upper
    bits are read (multiply-shift hashing: Dietzfelbinger et al., 1997).
    """
    rows = tokens.flatten(1).long()
    weights = torch.randint(2**62, (rows.shape[1],), generator=seeded("splits"))
    mixed = ((rows + 1) * (2 * weights + 1)).sum(dim=1)
    return (mixed >> 40) % PARTS


def draw_of_split(
    draw: Callable[[int], tuple[Tensor, ...]], split: Split, count: int
) -> tuple[Tensor, ...]:
    """Return `count` rows of a split, drawn until there are enough.

    Args:
        draw: returns so many random rows, as tensors whose first dimension is the row; the first
            tensor holds integers, which decide the split.
        split: the split whose examples are kept.
        count: how many.
    """
    own = torch.arange(PARTS)[SPLIT_OF_PART[split]]
    wanted = count * PARTS // len(own) + 4 * PARTS
    kept: list[tuple[Tensor, ...]] = []
    while sum(len(rows[0]) for rows in kept) < count:
        drawn = draw(wanted)
        mine = torch.isin(part_of(drawn[0]), own)
        kept.append(tuple(tensor[mine] for tensor in drawn))
    return tuple(torch.cat(parts)[:count] for parts in zip(*kept, strict=True))
