"""Shared parts of grouped-query attention with groups of unequal size."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def heads_by_share(
    shares: Float[Tensor, "*B G"], heads: int, *, smallest_first: bool
) -> Int[Tensor, "*B H"]:
    """Return the group of each head, where group g gets about its share of the heads.

    Shares are rounded, to even numbers where two are equally near. What is too much is then taken
    one by one from the largest group; what is missing goes to the smallest group, or else to the
    largest. Heads of a group are neighbours.
    """
    counts = (shares / shares.sum(dim=-1, keepdim=True) * heads).round().long()
    for _ in range(shares.shape[-1]):  # rounding errs by less than one head for each group
        missing = heads - counts.sum(dim=-1, keepdim=True)
        smallest, largest = (f(-1, keepdim=True) for f in (counts.argmin, counts.argmax))
        place = torch.where((missing > 0) & smallest_first, smallest, largest)
        counts = counts.scatter_add(-1, place, missing.sign())
    ends = counts.cumsum(dim=-1)
    head = torch.arange(heads, device=shares.device)
    return (ends[..., None, :] <= head[:, None]).sum(dim=-1)
