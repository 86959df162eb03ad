"""Rotary positions (Su et al., 2021, "RoFormer", arXiv 2104.09864) for states of linear attention.

A product of a query and a key that are both rotated depends on the difference of their positions,
so that a state may be kept in the frame of the present token: rotated back by one per step.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotated(x: Float[Tensor, "B H N E"], position: Int[Tensor, " P"]) -> Float[Tensor, "B H N E"]:
    """Turn channel pairs (c, c + E // 2) by position 10,000^(-2 c / E); an odd last one stays.

    There are P = N positions, or P = 1 for all tokens. Angles are taken in float64: at position
    65,536 float32 is off by hundredths of a radian.
    """
    half = x.shape[-1] // 2
    pair = torch.arange(half, device=x.device, dtype=torch.float64)
    angle = position.double()[:, None] * 10_000.0 ** (-pair / max(half, 1))
    wide = torch.promote_types(x.dtype, torch.float32)
    turn = torch.stack((angle.cos(), angle.sin())).to(wide)
    first, second, rest = x.to(wide).split((half, half, x.shape[-1] - 2 * half), dim=-1)
    turned = first * turn[0] - second * turn[1], first * turn[1] + second * turn[0]
    return torch.cat((*turned, rest), dim=-1)
