"""Rotary positions (Su et al., 2021, "RoFormer", arXiv 2104.09864) for states of linear attention.

A product of a query and a key that are both rotated depends on the difference of their positions,
so that a state may be kept in the frame of the present token: rotated back by one per step.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def rotate(x: Float[Tensor, "B H N E"], position: Float[Tensor, " P"]) -> Float[Tensor, "B H N E"]:
    """Rotate channel pairs (c, c + E // 2) by position 10,000^(-2 c / E); an odd last one stays.

    There are P = N positions, or P = 1 for all tokens. Angles are taken in float64: at position
    65,536 float32 is off by hundredths of a radian.
    """
    half = x.shape[-1] // 2
    pair = torch.arange(half, device=x.device, dtype=torch.float64)
    angle = position[:, None] * 10_000.0 ** (-pair / max(half, 1))
    wide = torch.promote_types(x.dtype, torch.float32)
    cosine, sine = angle.cos().to(wide), angle.sin().to(wide)
    first, second, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    turned = (first * cosine - second * sine, first * sine + second * cosine, rest.to(wide))
    return torch.cat(turned, dim=-1)


def places(x: Float[Tensor, "B H N E"]) -> Float[Tensor, " N"]:
    """Return the positions 0, ..., N - 1 of a sequence's tokens."""
    return torch.arange(x.shape[2], device=x.device, dtype=torch.float64)


def back_by_one(memory: Float[Tensor, "B H E V"]) -> Float[Tensor, "B H E V"]:
    """Turn sums of k v^T by the angles of one token backwards."""
    back = torch.full((1,), -1.0, device=memory.device, dtype=torch.float64)
    return rotate(memory.mT, back).mT
