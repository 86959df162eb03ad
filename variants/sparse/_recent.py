"""The decoding state of mechanisms that read only the first and the last few keys.

Dimensions: B batch, H heads, E head width, S slots.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class RecentKeys(NamedTuple):
    """The first keys and the last ones, in order; `length` tokens have been read."""

    k: Float[Tensor, "B H S E"]
    v: Float[Tensor, "B H S E"]
    length: Int[Tensor, " B"]


def remember(
    state: RecentKeys | None,
    k: Float[Tensor, "B H M E"],
    v: Float[Tensor, "B H M E"],
    recent: int,
    first: int = 0,
) -> RecentKeys:
    """Return the empty state (state None, no token), or the state after one token more."""
    slots = first + recent
    if state is None:
        empty = k.new_zeros(*k.shape[:2], slots, k.shape[3])
        return RecentKeys(empty, empty, torch.zeros(len(k), dtype=torch.long, device=k.device))
    full = (state.length >= slots)[:, None, None, None]

    def push(kept: Tensor, new: Tensor) -> Tensor:
        """Until all slots are taken the empty ones leave at the front; then the oldest recent."""
        all_ = torch.cat((kept, new), dim=2)
        rolled = torch.cat((all_[:, :, :first], all_[:, :, first + 1 :]), dim=2)
        return torch.where(full, rolled, all_[:, :, 1:])

    return RecentKeys(push(state.k, k), push(state.v, v), state.length + 1)


def positions(state: RecentKeys, first: int = 0) -> Int[Tensor, "B S"]:
    """Return where in the sequence each slot's token stood; negative for an empty slot."""
    slots = state.k.shape[2]
    slot = torch.arange(slots, device=state.k.device)
    place = state.length[:, None] - slots + slot
    return torch.where((slot < first) & (state.length[:, None] >= slots), slot, place)
