"""The state before each chunk of a linear recurrence, for all chunks at once.

A chunk changes the state by S -> A S + U. Two chunks in a row are one such change, so the states
are found by joining pairs, solving for the pairs, and filling in what stands between (the
parallel prefix sum of Blelloch, 1990, "Prefix Sums and Their Applications"). Work and memory are
linear in the number of chunks; nothing is divided, so nothing overflows where all |A| <= 1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor


def in_chunks(x: Tensor, chunk: int, axis: int = 2) -> Tensor:
    """Cut an axis into chunks (..., n, C, ...); the last is filled up with zeros."""
    missing = -x.shape[axis] % chunk
    behind = x.dim() - 1 - axis
    return F.pad(x, (0, 0) * behind + (0, missing)).unflatten(axis, (-1, chunk))


def states_before(
    transition: Shaped[Tensor, "B G n J L"],
    update: Shaped[Tensor, "B H n K V"],
    apply: Callable[[Tensor, Tensor], Tensor],
) -> Shaped[Tensor, "B H n K V"]:
    """Return S_c for S_0 = 0, S_{c+1} = apply(A_c, S_c) + U_c.

    apply is torch.mul for decays (K, 1) or (1, 1), torch.matmul for matrices (K, K); applied to
    two transitions it must give the transition of both.
    """
    if update.shape[2] == 1:
        return torch.zeros_like(update)
    after = _states_after(transition[:, :, :-1], update[:, :, :-1], apply)
    return torch.cat((torch.zeros_like(after[:, :, :1]), after), dim=2)


def _states_after(
    transition: Tensor, update: Tensor, apply: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    count = update.shape[2]
    if count == 1:
        return update
    paired = count - count % 2
    first, second = transition[:, :, 0:paired:2], transition[:, :, 1::2]
    joined = apply(second, update[:, :, 0:paired:2]) + update[:, :, 1::2]
    after_second = _states_after(apply(second, first), joined, apply)
    # The first chunk of every pair but pair 0 starts from the state after the pair before it.
    later = apply(transition[:, :, 2::2], after_second[:, :, : (count - 1) // 2])
    after_first = torch.cat((update[:, :, :1], later + update[:, :, 2::2]), dim=2)
    pairs = torch.stack((after_first[:, :, : paired // 2], after_second), dim=3).flatten(2, 3)
    return torch.cat((pairs, after_first[:, :, paired // 2 :]), dim=2)
