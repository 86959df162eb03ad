"""Landmarks: means over segments of each row's own, unpadded tokens."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Segments(NamedTuple):
    """Which tokens n belong to segment c of a row; a row may have fewer than C segments."""

    member: Bool[Tensor, "B C N"]

    @property
    def absent(self) -> Bool[Tensor, "B C"]:
        """The segments that a row does not have."""
        return ~self.member.any(dim=2)

    def means(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H C E"]:
        """Return the mean of each segment, 0 for an absent one."""
        member = self.member[:, None].to(x.dtype)
        return member @ x / member.sum(dim=3, keepdim=True).clamp(min=1)


def segments(padded: Bool[Tensor, "B N"], count: int) -> Segments:
    """Cut each row's unpadded tokens into min(count, their number) runs of nearly equal length.

    A row gives the same segments whether it stands alone or beside longer ones.
    """
    kept = ~padded
    total = kept.sum(dim=1, keepdim=True)
    rank = kept.cumsum(dim=1) - 1
    count = min(count, padded.shape[1])
    segment = rank * total.clamp(max=count) // total.clamp(min=1)
    numbers = torch.arange(count, device=padded.device)[:, None]
    return Segments((segment[:, None] == numbers) & kept[:, None])
