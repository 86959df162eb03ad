"""A state that decays by one number per token and takes in two tokens at a time.

    S_t = a_t (S_{t-1} + c_t k_{t-1} v_{t-1}^T) + b_t k_t v_t^T        o_t = S_t^T q_t

with a_t = exp(g_t), g <= 0. b weighs the token itself and c the one before it: the trapezoidal
rule for the integral over a step (Lahoti et al., 2026, "Mamba-3", arXiv 2603.15569, proposition
1). k and v may be of rank R: k v^T then stands for a sum of R outer products, and a token asks R
queries.

A token s is in S_t with the weight exp(g_{s+1} + ... + g_t) (b_s + c_{s+1}), but with b_s alone
where t = s, as the next token's c is not known there. Within a chunk the masked quadratic form is
used, whose keys are those of the chunk and of the token before it; between chunks runs the scan.
Time N R (R C + V) K for chunks of C tokens, memory linear in N.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.precision import in_float32
from cab.kernels.linear.scalar_decay import between_tokens
from cab.kernels.linear.scan import in_chunks, states_before


@in_float32
def trapezoidal_attention(
    q: Float[Tensor, "B H N R K"],
    k: Float[Tensor, "B H N R K"],
    v: Float[Tensor, "B H N R V"],
    own: Float[Tensor, "B H N"],
    last: Float[Tensor, "B H N"],
    log_decay: Float[Tensor, "B H N"],
    state: Float[Tensor, "B H K V"],
    last_key: Float[Tensor, "B H R K"],
    last_value: Float[Tensor, "B H R V"],
    chunk: int = 64,
) -> tuple[Float[Tensor, "B H N R V"], Float[Tensor, "B H K V"]]:
    """Return (o, S after the last token) of N tokens, of which there is at least one.

    own and last are b and c; state, last_key and last_value are what came before the first token.
    """
    length = v.shape[2]
    chunk = min(chunk, length)
    keys, values = _with_token_before(k, last_key, chunk), _with_token_before(v, last_value, chunk)
    q, own, last, log_decay = (in_chunks(x, chunk) for x in (q, own, last, log_decay))
    since_start = log_decay.cumsum(dim=3)  # (B, H, n, C), this token's own decay included
    weights = _weights(own, last, since_start)  # (B, H, n, C, 1 + C)
    scores = (q.flatten(3, 4) @ keys.flatten(3, 4).mT).unflatten(-1, keys.shape[3:5])
    scores = scores.unflatten(3, q.shape[3:5]) * weights[:, :, :, :, None, :, None]
    within = scores.flatten(5, 6).flatten(3, 4) @ values.flatten(3, 4)

    written = (weights[..., -1, :, None, None] * values).flatten(3, 4)
    update = keys.flatten(3, 4).mT @ written
    total = since_start[..., -1:]
    before = states_before(total.exp()[..., None], update, torch.mul)
    passed = F.pad(total[:, :, :-1], (0, 0, 1, 0)).cumsum(dim=2)
    before = before + passed.exp()[..., None] * state[:, :, None]
    carried = since_start.exp()[..., None, None] * (q @ before[:, :, :, None])
    out = within.unflatten(3, q.shape[3:5]) + carried
    after = total[:, :, -1:].exp()[..., None] * before[:, :, -1:] + update[:, :, -1:]
    return out.flatten(2, 3)[:, :, :length], after[:, :, 0]


def _with_token_before(
    x: Float[Tensor, "B H N R E"], first: Float[Tensor, "B H R E"], chunk: int
) -> Float[Tensor, "B H n W R E"]:
    """Cut into chunks, each with the token before it in front: W = 1 + C tokens."""
    cut = in_chunks(x, chunk)
    ends = cut[:, :, :-1, -1]
    before = torch.cat((first.to(x.dtype)[:, :, None], ends), dim=2)
    return torch.cat((before[:, :, :, None], cut), dim=3)


def _weights(
    own: Float[Tensor, "B H n C"],
    last: Float[Tensor, "B H n C"],
    since_start: Float[Tensor, "B H n C"],
) -> Float[Tensor, "B H n C W"]:
    """Return with what weight token i reads the token before the chunk, and token j of it."""
    chunk = own.shape[-1]
    present = torch.ones(chunk, chunk, dtype=torch.bool, device=own.device).triu()
    following = F.pad(last[..., 1:], (0, 1))[..., None, :].masked_fill(present, 0.0)
    inside = between_tokens(since_start) * (own[..., None, :] + following)
    first = since_start.exp() * last[..., :1]
    return torch.cat((first[..., None], inside), dim=-1)
