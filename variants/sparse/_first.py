"""Attention to the near tokens and to the first ones, of `streaming` and of `longformer`.

Dimensions: B batch, H heads, N length, E head width, n blocks, b block.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.variants.sparse._blocks import attend_visible, band, cut, join, weigh
from cab.variants.sparse._recent import RecentKeys, positions


def attend_near_and_first(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    absent: Bool[Tensor, "B 1 N"],
    window: int,
    first: int,
    causal: bool,
) -> Float[Tensor, "B H N E"]:
    """One softmax over |t - s| < window and s < first (and s <= t), for scaled queries."""
    length = q.shape[2]
    near = band(q, k, v, absent, window, causal)
    block = near.scores.shape[3]
    early = cut(q @ k[:, :, :first].mT, 2, block)
    t = torch.arange(early.shape[2] * block, device=q.device).unflatten(0, (-1, block, 1))
    s = torch.arange(early.shape[4], device=q.device)
    # Those in the window are among the near keys already.
    hidden = (t - s < window) if causal else ((t - s).abs() < window)
    hidden = hidden | absent[:, :, None, None, :first]
    near_weights, early_weights = weigh((near.scores, near.hidden), (early, hidden))
    mixed = join(near_weights @ near.values, 2, length)
    return mixed + join(early_weights, 2, length) @ v[:, :, :first]


def recall_near_and_first(
    q: Float[Tensor, "B H 1 E"], state: RecentKeys, first: int
) -> Float[Tensor, "B H 1 E"]:
    """Attend to the kept keys, for a scaled query."""
    empty = positions(state, first) < 0
    return attend_visible(q, state.k, state.v, empty[:, None, None])
