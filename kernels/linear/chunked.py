"""Causal linear attention in chunks: time N (C + V) K, memory linear in N.

Within a chunk of C tokens the masked quadratic form is used; between chunks the running state
S = sum_s k_s v_s^T (K x V) carries all that came before (the chunkwise form of Hua et al., 2022,
"Transformer Quality in Linear Time", arXiv 2202.10447).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

CHUNK = 128
"""Fastest of 32 ... 256 at head width 64 on CPUs; on GPUs the choice is the kernel's own."""


def causal_linear_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    chunk: int = CHUNK,
) -> Float[Tensor, "B H N V"]:
    """Return o_t = sum_{s <= t} (q_t . k_s) v_s.

    The states are summed in float32 at least: a bfloat16 sum stops growing after 256 equal terms.
    A chunk no shorter than V keeps the states, N / C of them, below the size of the inputs.
    """
    length, dtype = q.shape[2], q.dtype
    chunk = min(chunk, length)
    if dtype in (torch.float16, torch.bfloat16):
        q, k, v = q.float(), k.float(), v.float()
    missing = -length % chunk
    # Views of heads are copied once here, not by each product that reads them.
    q, k, v = (F.pad(x, (0, 0, 0, missing)) if missing else x.contiguous() for x in (q, k, v))
    q, k, v = (x.unflatten(2, (-1, chunk)) for x in (q, k, v))
    states = k.mT @ v  # (B, H, N / C, K, V), one per chunk
    before = F.pad(states.cumsum(dim=2)[:, :, :-1], (0, 0, 0, 0, 1, 0))
    within = (q @ k.mT).tril_()
    parts = (x.flatten(0, 2) for x in (q @ before, within, v))
    out = torch.baddbmm(*parts).unflatten(0, v.shape[:3])
    return out.flatten(2, 3)[:, :, :length].to(dtype)
