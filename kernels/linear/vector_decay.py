"""Linear attention whose state decays by one number per key channel and token.

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T        o_t = S_t^T q_t

g <= 0 (Yang et al., 2023, "Gated Linear Attention Transformers", arXiv 2312.06635). The score of
a pair is sum_c q_tc k_sc exp(G_tc - G_sc) with G the running sum of g; split into exp(G_t) and
exp(-G_s) the second overflows. So a chunk is halved, and its halves again: a query in the later
half meets a key in the earlier half through the moment m between them, as exp(G_t - G_m) and
exp(G_m - G_s), neither above 1. Each halving is computed again in the backward pass: kept, its
factors would take 2 N K each. Time N (C + V) K, memory N K.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scan import in_chunks, states_before


@at_least_float32
def vector_decay_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    log_decay: Float[Tensor, "B H N K"],
    chunk: int = 32,
) -> Float[Tensor, "B H N V"]:
    """Return o; chunk is a power of two."""
    length = v.shape[2]
    chunk = fitting_chunk(chunk, length)
    q, k, v, log_decay = (in_chunks(x, chunk) for x in (q, k, v, log_decay))
    since_start = log_decay.cumsum(dim=3)  # (B, H, n, C, K), this token's own decay included
    total = since_start[..., -1:, :]
    states = (k * (total - since_start).exp()).mT @ v
    before = states_before(total.exp().mT, states, torch.mul)
    scores = decayed_scores(q, k, since_start)
    out = scores @ v + (q * since_start.exp()) @ before
    return out.flatten(2, 3)[:, :, :length]


def fitting_chunk(chunk: int, length: int) -> int:
    """Return the chunk, or the least power of two that holds a shorter sequence."""
    if chunk < 1 or chunk & (chunk - 1):
        raise ValueError(f"chunk = {chunk} is no power of two.")
    return min(chunk, 1 << (length - 1).bit_length())


def decayed_scores(
    q: Float[Tensor, "*Q C K"], k: Float[Tensor, "*R C K"], since_start: Float[Tensor, "*S C K"]
) -> Float[Tensor, "*P C C"]:
    """Return sum_c q_ic k_jc exp(G_ic - G_jc) for j <= i, else 0; C is a power of two.

    The axes before C are broadcast, so that several queries may meet several keys.
    """
    chunk = q.shape[-2]
    scores = (q * k).sum(dim=-1)[..., None, None]  # blocks (1, 1) on the diagonal: no decay
    half = 1
    while half < chunk:
        across = checkpoint(
            _later_meets_earlier,
            q,
            k,
            since_start,
            half,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        earlier, later = scores.unflatten(-3, (-1, 2)).unbind(-3)
        upper = torch.cat((earlier, torch.zeros_like(across)), dim=-1)
        scores = torch.cat((upper, torch.cat((across, later), dim=-1)), dim=-2)
        half *= 2
    return scores.squeeze(-3)


def _later_meets_earlier(q: Tensor, k: Tensor, since_start: Tensor, half: int) -> Tensor:
    """Return the scores (.., C / 2h, h, h) of each later half against the half before it."""
    blocks = (-1, 2, half)
    earlier_sum, later_sum = since_start.unflatten(-2, blocks).unbind(-3)
    middle = earlier_sum[..., -1:, :]
    keys = k.unflatten(-2, blocks)[..., 0, :, :] * (middle - earlier_sum).exp()
    queries = q.unflatten(-2, blocks)[..., 1, :, :] * (later_sum - middle).exp()
    return queries @ keys.mT


def vector_decay_step(
    state: Float[Tensor, "B H K V"],
    q: Float[Tensor, "B H 1 K"],
    k: Float[Tensor, "B H 1 K"],
    v: Float[Tensor, "B H 1 V"],
    log_decay: Float[Tensor, "B H 1 K"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
    """Return (o, the state after it) of one token."""
    state = state * log_decay.exp().mT + k.mT * v
    return (q.to(state.dtype) @ state).to(v.dtype), state
