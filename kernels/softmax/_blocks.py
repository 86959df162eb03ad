"""Which blocks of keys a block of queries meets, as lists that a kernel can walk."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class BlockLists(NamedTuple):
    """For each block the blocks that it meets: `counts` of them, in order, at the list's start."""

    lists: Int[Tensor, "_ _ n m"]
    counts: Int[Tensor, "B H n"]


def block_lists(mask: Bool[Tensor, "_ _ n m"], batch: int, heads: int) -> BlockLists:
    """Return the lists of a mask over blocks; its first two axes are B and H, or 1 if shared."""
    lists = mask.to(torch.uint8).argsort(dim=-1, descending=True, stable=True).int()
    counts = mask.sum(dim=-1, dtype=torch.int32).expand(batch, heads, -1)
    return BlockLists(lists.contiguous(), counts.contiguous())


def mask_of_chosen(
    chosen: Int[Tensor, "B H n top"], blocks: int
) -> Bool[Tensor, "B H n {blocks}"]:
    """Return the mask over blocks of a choice by index; -1 chooses nothing, twice counts once.

    Raises:
        ValueError: an index at or beyond the number of blocks. Read on CPU only, where it is free.
    """
    if chosen.device.type == "cpu" and chosen.numel() and int(chosen.max()) >= blocks:
        raise ValueError(f"A chosen block has index {int(chosen.max())}; there are {blocks}.")
    # -1 goes to a column of its own, which is cut off.
    mask = torch.zeros(*chosen.shape[:3], blocks + 1, dtype=torch.bool, device=chosen.device)
    places = torch.where(chosen < 0, blocks, chosen).long()
    return mask.scatter_(-1, places, True)[..., :blocks]
