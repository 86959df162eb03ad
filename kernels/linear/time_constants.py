"""Time constants of decays at the start of training: tokens after which 1/e of a memory is left.

Papers draw decays at random for dozens of heads and thousands of tokens, or start all of them at
one value. With two or four heads and a hundred tokens the outcome would depend on the seed or on
the task's length. So every mechanism with decays starts from the same range: evenly spaced
quantiles of a law that is uniform in the logarithm of the time constant, without random draws.
The range is that of the papers which give one for a length of training: from 1/64 of it, but at
least SHORTEST tokens, to twice of it (RetNet, arXiv 2307.08621: 32 to 4,096 tokens for 2,048;
S4D, arXiv 2206.11893: 20 to 2,000 tokens for 1,024).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

SHORTEST = 2.0
"""The shortest time constant, in tokens."""

FEWEST_HEADS = 4
"""Mechanisms with one decay per head have at least as many, if the head width allows it."""


def spread(
    count: int, train_length: int, device: torch.device | None = None
) -> Float[Tensor, " count"]:
    """Return `count` time constants in float64, from short to long, each by one factor longer.

    They go from train_length / 64, but at least SHORTEST, to 2 train_length, but at least twice
    the shortest. One alone is the geometric mean of both ends.
    """
    shortest = max(SHORTEST, train_length / 64)
    ends = math.log(shortest), math.log(max(2.0 * train_length, 2 * shortest))
    if count == 1:
        return torch.full((1,), math.exp(sum(ends) / 2), dtype=torch.float64, device=device)
    return torch.linspace(*ends, count, dtype=torch.float64, device=device).exp()


def over_channels(heads: int, channels: int, train_length: int) -> Float[Tensor, " C"]:
    """Return one time constant per channel of every head, head by head: C = heads x channels.

    Each head has long and short ones: sorted by length, they belong to the heads in turn.
    """
    return spread(heads * channels, train_length).view(channels, heads).mT.flatten()


def value_heads(heads: int, width: int) -> int:
    """Return how many value heads each head has, so that there are FEWEST_HEADS or more in all.

    The value heads of a head share its queries and keys; each has a part of its values and a decay
    of its own. The answer is 1 where the values' width is not divisible by that number.
    """
    wanted = math.ceil(FEWEST_HEADS / heads)
    return wanted if width % wanted == 0 else 1
