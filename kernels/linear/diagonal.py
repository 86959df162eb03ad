"""A bank of diagonal state spaces per channel: a long causal convolution in linear time.

    y_t = Re sum_{s <= t} sum_n w_n p_n^(t - s) u_s

with |p| <= 1, given as log p. Within a chunk the convolution is a Toeplitz product, between
chunks the states X = sum_s p^(t - s) u_s are scanned. An FFT computes the same convolution, yet
its rounding carries the future into the past. Time N (C + S) D for S states per channel, memory
N S D / C beside the inputs.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scan import in_chunks, states_before


@at_least_float32
def diagonal_state_space(
    u: Float[Tensor, "B N D"],
    log_pole: Float[Tensor, "D S"] | Complex[Tensor, "D S"],
    weight: Float[Tensor, "D S"] | Complex[Tensor, "D S"],
    chunk: int = 64,
) -> Float[Tensor, "B N D"]:
    """Return y; poles and weights are real or complex, the real part is taken."""
    length = u.shape[1]
    chunk = min(chunk, length)
    time = torch.arange(chunk + 1, device=u.device)
    powers = (log_pole[..., None] * time).exp()  # (D, S, C + 1)
    kernel = _real(weight[:, None] @ powers[..., :-1])[:, 0]  # (D, C)

    blocks = in_chunks(u, chunk, axis=1).permute(3, 0, 1, 2)  # (D, B, n, C)
    lag = time[:-1, None] - time[:-1]
    toeplitz = kernel[:, lag.clamp(min=0)].masked_fill(lag < 0, 0.0)
    within = blocks.flatten(1, 2) @ toeplitz.mT

    to_end = powers[..., :-1].flip(-1).mT  # (D, C, S): token s of a chunk is C - 1 - s steps old
    updates = blocks @ to_end[:, None] if to_end.is_floating_point() else _complex(blocks, to_end)
    over_chunk = powers[:, None, None, None, :, -1].expand(-1, -1, updates.shape[2], -1, -1)
    before = states_before(over_chunk, updates[..., None, :], torch.mul)
    read = weight[..., None] * powers[..., 1:]  # (D, S, C)
    carried = _real(before.squeeze(3).flatten(1, 2) @ read)
    out = (within + carried).unflatten(1, blocks.shape[1:3])
    return out.permute(1, 2, 3, 0).flatten(1, 2)[:, :length]


def _real(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x


def _complex(blocks: Tensor, to_end: Tensor) -> Tensor:
    return torch.complex(blocks @ to_end.real[:, None], blocks @ to_end.imag[:, None])


def diagonal_step(
    state: Float[Tensor, "B D S"] | Complex[Tensor, "B D S"],
    u: Float[Tensor, "B D"],
    log_pole: Float[Tensor, "D S"] | Complex[Tensor, "D S"],
    weight: Float[Tensor, "D S"] | Complex[Tensor, "D S"],
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D S"] | Complex[Tensor, "B D S"]]:
    """Return (y, the state X after it) of one token."""
    state = state * log_pole.exp() + u[..., None]
    return _real((weight * state).sum(dim=-1)).to(u.dtype), state
