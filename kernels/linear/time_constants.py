"""Time constants of decays at the start of training: tokens after which 1/e of a memory is left.

Papers draw decays at random for dozens of heads and thousands of tokens, or start all of them at
one value. With two or four heads and a hundred tokens the outcome would depend on the seed or on
the task's length. So every mechanism with decays starts from the same range: evenly spaced
quantiles of a law that is uniform in the logarithm of the time constant, without random draws,
from SHORTEST tokens to the length of training. A mechanism whose paper states the range for a
length of training scales that range to the present one.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

SHORTEST = 2.0
"""The shortest time constant, in tokens."""

FEWEST_HEADS = 4
"""Mechanisms with one decay per head have at least as many heads, if the head width allows it."""


def spread(
    count: int, shortest: int | float, longest: int | float, device: torch.device | None = None
) -> Float[Tensor, " count"]:
    """Return `count` time constants from shortest to longest, each by the same factor longer.

    One alone is the geometric mean of both ends. longest is at least twice shortest, also where
    less is given. The result is float64.
    """
    ends = math.log(shortest), math.log(max(longest, 2 * shortest))
    if count == 1:
        return torch.full((1,), math.exp(sum(ends) / 2), dtype=torch.float64, device=device)
    return torch.linspace(*ends, count, dtype=torch.float64, device=device).exp()


def over_channels(heads: int, channels: int, train_length: int) -> Float[Tensor, " C"]:
    """Return one time constant per channel of every head, head by head: C = heads x channels.

    Each head has long and short ones: sorted by length, they belong to the heads in turn.
    """
    return spread(heads * channels, SHORTEST, train_length).view(channels, heads).mT.flatten()


def pieces(heads: int, width: int) -> int:
    """Return into how many heads each head is divided, so that there are FEWEST_HEADS or more.

    The answer is 1 where the head width is not divisible by that number.
    """
    wanted = math.ceil(FEWEST_HEADS / heads)
    return wanted if width % wanted == 0 else 1
