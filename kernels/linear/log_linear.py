"""Linear attention with a state for every level of a binary tree over the past.

    o_t = sum_l w_tl sum_{s in level l of t} exp(g_{s+1} + .. + g_t) (q_t . k_s) v_s

Positions count from 0. Level 0 of t is t itself; where bit l - 1 of t is set, level l holds the
2^(l-1) tokens before the first position that shares the bits from l - 1 on with t, else nothing.
So l is the number of binary digits of t xor s, near tokens stand alone and far ones in long runs,
and log2(t) + 1 levels cover the past (the tree of Fenwick, 1994; Guo et al., 2025, "Log-Linear
Attention", arXiv 2506.04761). Levels past the last weight take that one.

Levels within a chunk are one masked product. Above, a level is half of a pair of blocks: each
chunk in the later half reads the state of the earlier half, and both states join. Time N (C +
K V log(N / C)), memory N K V log(N / C) / C.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scalar_decay import between_tokens
from cab.kernels.linear.scan import in_chunks
from cab.kernels.linear.vector_decay import fitting_chunk


@at_least_float32
def log_linear_attention(
    q: Float[Tensor, "B G N K"],
    k: Float[Tensor, "B J N K"],
    v: Float[Tensor, "B H N V"],
    weights: Float[Tensor, "B H N L"],
    log_decay: Float[Tensor, "B H N"],
    chunk: int = 32,
) -> Float[Tensor, "B H N V"]:
    """Return o; chunk is a power of two. Queries and keys may be shared by all heads."""
    length = v.shape[2]
    chunk = fitting_chunk(chunk, length)
    q, k, v, weights, log_decay = (in_chunks(x, chunk) for x in (q, k, v, weights, log_decay))
    since_start = log_decay.cumsum(dim=3)
    total = since_start[..., -1]  # of each block, at first of each chunk: (B, H, n)
    levels = weights.shape[-1]
    near = weights.gather(-1, _levels(chunk, levels, q.device).expand(*v.shape[:3], -1, -1))
    out = (near * between_tokens(since_start) * (q @ k.mT)) @ v

    states = k.mT @ (v * (total[..., None] - since_start).exp()[..., None])
    lead = torch.zeros_like(total)  # of each chunk: what its block has decayed before it
    chunks, half, level = total.shape[2], 1, chunk.bit_length()
    while half < chunks:
        odd = [number for number in range(chunks) if number // half % 2]
        later = torch.tensor(odd, device=q.device)
        earlier = later // half - 1
        decay = (lead[:, :, later, None] + since_start[:, :, later]).exp()
        decay = decay * weights[:, :, later, :, min(level, levels - 1)]
        read = q[:, :, later] @ states[:, :, earlier]
        out = out.index_add(2, later, decay[..., None] * read)
        lead = lead.index_add(2, later, total[:, :, earlier])
        states, total = _join_pairs(states, total)
        half, level = 2 * half, level + 1
    return out.flatten(2, 3)[:, :, :length]


def _levels(chunk: int, levels: int, device: torch.device) -> Int[Tensor, "C C"]:
    """The level of s at t within a chunk, at most the last that has a weight."""
    place = torch.arange(chunk, device=device)
    apart = place[:, None] ^ place
    powers = 2 ** torch.arange(chunk.bit_length(), device=device)
    return (apart[..., None] >= powers).sum(dim=-1).clamp(max=levels - 1)


def _join_pairs(states: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """States and decays of blocks twice as long; a last block without a partner stays alone."""
    paired = total.shape[2] // 2 * 2
    left = total[:, :, 1:paired:2]
    joined = states[:, :, 0:paired:2] * left.exp()[..., None, None] + states[:, :, 1:paired:2]
    decayed = total[:, :, 0:paired:2] + left
    return (
        torch.cat((joined, states[:, :, paired:]), dim=2),
        torch.cat((decayed, total[:, :, paired:]), dim=2),
    )


def log_linear_step(
    states: Float[Tensor, "B H T K V"],
    q: Float[Tensor, "B G 1 K"],
    k: Float[Tensor, "B J 1 K"],
    v: Float[Tensor, "B H 1 V"],
    weights: Float[Tensor, "B H 1 L"],
    log_decay: Float[Tensor, "B H 1"],
    position: int,
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H U K V"]]:
    """Return (o, the states after it) of the token at a position.

    There are as many states as levels in use: 1 at position 0, and one more at each power of two.
    """
    lowest = (position & -position).bit_length()  # levels below it join to it; 0 at position 0
    kept = [states[:, :, i] for i in range(states.shape[2])]
    if position:
        joined = torch.stack(kept[:lowest], dim=2).sum(dim=2)
        empty = torch.zeros_like(joined)
        kept = [*[empty] * lowest, joined, *kept[lowest + 1 :]]
    written = k.to(states.dtype).mT * v
    kept = [written, *[one * log_decay.exp()[..., None] for one in kept[1:]]]
    after = torch.stack(kept, dim=2)
    level = torch.arange(after.shape[2], device=v.device).clamp(max=weights.shape[-1] - 1)
    read = q.to(states.dtype)[:, :, None] @ after  # (B, H, U, 1, V)
    out = (weights[..., 0, level][..., None, None] * read).sum(dim=2)
    return out.to(v.dtype), after
