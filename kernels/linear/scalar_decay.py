"""Linear attention whose state decays by one number per head and token.

    S_t = exp(g_t) S_{t-1} + k_t v_t^T        o_t = S_t^T q_t

g <= 0 may depend on the data. Within a chunk the masked quadratic form is used, with weights
exp(g_{s+1} + ... + g_t) <= 1 (Dao, Gu, 2024, "Transformers are SSMs", arXiv 2405.21060, section
6); between chunks runs the scan. Time N (C + V) K, memory linear in N.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scan import in_chunks, states_before


@at_least_float32
def scalar_decay_attention(
    q: Float[Tensor, "B G N K"],
    k: Float[Tensor, "B J N K"],
    v: Float[Tensor, "B H N V"],
    log_decay: Float[Tensor, "B H N"],
    chunk: int = 64,
) -> Float[Tensor, "B H N V"]:
    """Return o. Queries and keys may be shared by all heads (one head in their place)."""
    length = v.shape[2]
    chunk = min(chunk, length)
    q, k, v, log_decay = (in_chunks(x, chunk) for x in (q, k, v, log_decay))
    since_start = log_decay.cumsum(dim=3)  # (B, H, n, C), this token's own decay included
    total = since_start[..., -1:]
    weights = between_tokens(since_start)
    states = k.mT @ (v * (total - since_start).exp()[..., None])
    before = states_before(total.exp()[..., None], states, torch.mul)
    out = (weights * (q @ k.mT)) @ v + since_start.exp()[..., None] * (q @ before)
    return out.flatten(2, 3)[:, :, :length]


def between_tokens(since_start: Float[Tensor, "B H n C"]) -> Float[Tensor, "B H n C C"]:
    """Return what is left at token i of what token j wrote: 0 where j > i, else at most 1."""
    difference = since_start[..., :, None] - since_start[..., None, :]
    chunk = since_start.shape[-1]
    future = torch.ones(chunk, chunk, dtype=torch.bool, device=since_start.device).triu(1)
    # Masked before exp: the future's differences are positive and may overflow.
    return difference.masked_fill(future, -torch.inf).exp()


def scalar_decay_step(
    state: Float[Tensor, "B H K V"],
    q: Float[Tensor, "B G 1 K"],
    k: Float[Tensor, "B J 1 K"],
    v: Float[Tensor, "B H 1 V"],
    log_decay: Float[Tensor, "B H 1"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
    """Return (o, the state after it) of one token."""
    state = state * log_decay.exp()[..., None] + k.mT * v
    return (q.to(state.dtype) @ state).to(v.dtype), state
