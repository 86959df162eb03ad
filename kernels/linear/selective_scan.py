"""Mamba's selective scan: every channel has a state whose decay depends on the token.

    h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t        y_t = C_t . h_t

with A < 0 and a step delta per channel; the input B and the output C are shared by the channels
of a group (Gu, Dao, 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
arXiv 2312.00752). It is linear attention with a decay per key channel, where every channel is a
head with values of width 1, so that it is computed in chunks: time N C S per channel with chunks
of C and states of S, memory N S per channel.
"""

from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.vector_decay import vector_decay_attention


def selective_scan(
    u: Float[Tensor, "B G N P"],
    delta: Float[Tensor, "B G N P"],
    log_rate: Float[Tensor, "G P S"],
    b: Float[Tensor, "B G N S"],
    c: Float[Tensor, "B G N S"],
    chunk: int = 16,
) -> Float[Tensor, "B G N P"]:
    """Return y of G groups of P channels with A = -exp(log_rate); chunk is a power of two.

    A token with delta = 0 changes no state.
    """
    channels = u.shape[-1]
    queries, keys = (x[:, :, None].expand(-1, -1, channels, -1, -1).flatten(1, 2) for x in (c, b))
    values = (delta * u).mT[..., None].flatten(1, 2)
    log_decay = -log_rate.exp()[:, :, None] * delta.mT[..., None]
    read = vector_decay_attention(queries, keys, values, log_decay.flatten(1, 2), chunk)
    return read.unflatten(1, (-1, channels))[..., 0].mT
