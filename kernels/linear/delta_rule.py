"""The delta rule: a token replaces what its key reads instead of adding to it.

    S_t = exp(g_t) (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T        o_t = S_t^T q_t

with b in [0, 1] (up to 2 is stable), |k| = 1 and g <= 0, 0 without a gate. A token writes
k_t u_t^T with u_t = b_t (v_t - exp(g_t) S_{t-1}^T k_t); within a chunk all u solve one unit
triangular system (Yang et al., 2024, "Parallelizing Linear Transformers with the Delta Rule over
Sequence Length", arXiv 2406.06484; with gates 2412.06464), and a chunk as a whole multiplies the
state by a K x K matrix of norm at most 1. Time N (C + K + V) K, memory linear in N.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scalar_decay import between_tokens
from cab.kernels.linear.scan import in_chunks, states_before


@at_least_float32
def delta_rule_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    strength: Float[Tensor, "B H N"],
    log_decay: Float[Tensor, "B H N"],
    chunk: int = 64,
) -> Float[Tensor, "B H N V"]:
    """Return o; the keys have norm 1 (or 0), strength is b and log_decay g."""
    length = v.shape[2]
    chunk = min(chunk, length)
    q, k, v, strength, log_decay = (in_chunks(x, chunk) for x in (q, k, v, strength, log_decay))
    since_start = log_decay.cumsum(dim=3)
    left, strength = since_start.exp()[..., None], strength[..., None]
    total = since_start[..., -1:]
    weights = between_tokens(since_start)

    # u = written - reading S, with S the state before the chunk.
    system = torch.tril(strength * weights * (k @ k.mT), -1)  # the unit diagonal is implied
    sides = strength * torch.cat((left * k, v), dim=-1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    reading, written = solved.split((k.shape[-1], v.shape[-1]), dim=-1)

    keys = k * (total - since_start).exp()[..., None]
    kept = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device) * total.exp()[..., None]
    before = states_before(kept - keys.mT @ reading, keys.mT @ written, torch.matmul)
    out = (weights * (q @ k.mT)) @ (written - reading @ before) + left * (q @ before)
    return out.flatten(2, 3)[:, :, :length]


def delta_rule_step(
    state: Float[Tensor, "B H K V"],
    q: Float[Tensor, "B H 1 K"],
    k: Float[Tensor, "B H 1 K"],
    v: Float[Tensor, "B H 1 V"],
    strength: Float[Tensor, "B H 1"],
    log_decay: Float[Tensor, "B H 1"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
    """Return (o, the state after it) of one token."""
    state = state * log_decay.exp()[..., None]
    error = v - k.to(state.dtype) @ state
    state = state + k.mT * (strength[..., None] * error)
    return (q.to(state.dtype) @ state).to(v.dtype), state
