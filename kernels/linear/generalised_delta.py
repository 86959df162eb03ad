"""The generalised delta rule: vector decay, and a rank-one change that need not be symmetric.

    S_t = (diag(exp(g_t)) + b_t a_t^T) S_{t-1} + k_t v_t^T        o_t = S_t^T q_t

with g <= 0 per key channel (Peng et al., 2025, "RWKV-7 Goose with Expressive Dynamic State
Evolution", arXiv 2503.14456; there a = -kappa, b = kappa * rate with |kappa| = 1). Token t reads
u_t = S_{t-1}^T a_t and writes b_t u_t^T; within a chunk all u solve one unit triangular system.
Its entries are decayed scores, so no exponent is above 0. Time N (C + K + V) K.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scan import in_chunks, states_before
from cab.kernels.linear.vector_decay import decayed_scores, fitting_chunk


@at_least_float32
def generalised_delta_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    a: Float[Tensor, "B H N K"],
    b: Float[Tensor, "B H N K"],
    log_decay: Float[Tensor, "B H N K"],
    chunk: int = 32,
) -> Float[Tensor, "B H N V"]:
    """Return o; chunk is a power of two."""
    length = v.shape[2]
    chunk = fitting_chunk(chunk, length)
    q, k, v, a, b, log_decay = (in_chunks(x, chunk) for x in (q, k, v, a, b, log_decay))
    since_start = log_decay.cumsum(dim=3)  # this token's own decay included
    total = since_start[..., -1:, :]

    # u = reading S + written, with S the state before the chunk. Token t reads what token t - 1
    # left, so its scores are those of a query in the row above.
    early = F.pad(a[..., 1:, :], (0, 0, 0, 1))
    queries, keys = torch.stack((early, q))[:, None], torch.stack((b, k))
    of_a, of_q = decayed_scores(queries, keys, since_start).unbind(0)
    of_b, of_k = F.pad(of_a[..., :-1, :], (0, 0, 1, 0)).unbind(0)
    before_own = F.pad(since_start[..., :-1, :], (0, 0, 1, 0))
    sides = torch.cat((a * before_own.exp(), of_k @ v), dim=-1)
    solved = torch.linalg.solve_triangular(-of_b, sides, upper=False, unitriangular=True)
    reading, written = solved.split((k.shape[-1], v.shape[-1]), dim=-1)

    to_end = (total - since_start).exp()
    erase, store = (b * to_end).mT, (k * to_end).mT
    kept = torch.diag_embed(total.exp()[..., 0, :])
    before = states_before(kept + erase @ reading, erase @ written + store @ v, torch.matmul)
    u = reading @ before + written
    out = of_q[0] @ u + of_q[1] @ v + (q * since_start.exp()) @ before
    return out.flatten(2, 3)[:, :, :length]


def generalised_delta_step(
    state: Float[Tensor, "B H K V"],
    q: Float[Tensor, "B H 1 K"],
    k: Float[Tensor, "B H 1 K"],
    v: Float[Tensor, "B H 1 V"],
    a: Float[Tensor, "B H 1 K"],
    b: Float[Tensor, "B H 1 K"],
    log_decay: Float[Tensor, "B H 1 K"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
    """Return (o, the state after it) of one token."""
    read = a.to(state.dtype) @ state
    state = log_decay.exp().mT * state + b.mT * read + k.mT * v
    return (q.to(state.dtype) @ state).to(v.dtype), state
