"""Shared parts of grouped-query attention with groups of unequal size."""

from typing import Any, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention


class QueryGroups(MultiHeadAttention):
    """Multi-head attention with G heads of keys and values; its Config has heads_per_group."""

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.groups = -(-self.heads // self.config.heads_per_group)
        self.key, self.value = (
            nn.Linear(self.dim, self.groups * self.head_width, bias=False) for _ in range(2)
        )

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B H N E"]:
        """Cut into as many heads as there are: H of queries, G of keys or values."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def even_groups(self) -> Int[Tensor, " H"]:
        """Return the group of each head where groups are of one size, or differ by one head."""
        return torch.arange(self.heads) * self.groups // self.heads


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
