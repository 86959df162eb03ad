"""In-context least squares: the state is fitted anew to all tokens, for every query.

    H_t = exp(g_t) H_{t-1} + b_t k_t k_t^T        G_t = exp(g_t) G_{t-1} + b_t k_t v_t^T
    o_t = G_t^T x_t        (H_t + diag(ridge)) x_t = q_t

with g <= 0, b >= 0 and a positive ridge (von Oswald et al., 2025, "MesaNet", arXiv 2506.05233).
The systems of all tokens are solved together by a fixed number of steps of conjugate gradients
from 0 (Hestenes, Stiefel, 1952). A step needs H_t p_t alone, which is linear attention of the
query p_t with the keys as values, so no H_t is stored but those before each chunk. Time N steps
(C + K) K, memory N (steps K + C).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scalar_decay import between_tokens
from cab.kernels.linear.scan import in_chunks, states_before


@at_least_float32
def least_squares_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    strength: Float[Tensor, "B H N"],
    log_decay: Float[Tensor, "B H N"],
    ridge: Float[Tensor, "H K"],
    steps: int,
    chunk: int = 32,
) -> Float[Tensor, "B H N V"]:
    """Return o; strength is b and log_decay g."""
    length = v.shape[2]
    chunk = min(chunk, length)
    q, k, v, strength, log_decay = (in_chunks(x, chunk) for x in (q, k, v, strength, log_decay))
    since_start = log_decay.cumsum(dim=3)
    left, total = since_start.exp()[..., None], since_start[..., -1:]
    weights = between_tokens(since_start) * strength[..., None, :]
    keys = k * (strength * (total - since_start).exp())[..., None]
    both = torch.cat((k, v), dim=-1)
    before = states_before(total.exp()[..., None], keys.mT @ both, torch.mul)
    of_keys, of_values = before.split((k.shape[-1], v.shape[-1]), dim=-1)
    added = ridge.to(q.dtype)[:, None, None]

    def times_h(p: Tensor) -> Tensor:
        return (left * p) @ of_keys + (weights * (p @ k.mT)) @ k + added * p

    def again(p: Tensor) -> Tensor:  # in the backward pass: kept, its scores would take N C a step
        return checkpoint(times_h, p, use_reentrant=False, preserve_rng_state=False)

    x = _conjugate_gradients(again, q, steps)
    out = (left * x) @ of_values + (weights * (x @ k.mT)) @ v
    return out.flatten(2, 3)[:, :, :length]


def least_squares_step(
    state: Float[Tensor, "B H K KV"],
    q: Float[Tensor, "B H 1 K"],
    k: Float[Tensor, "B H 1 K"],
    v: Float[Tensor, "B H 1 V"],
    strength: Float[Tensor, "B H 1"],
    log_decay: Float[Tensor, "B H 1"],
    ridge: Float[Tensor, "H K"],
    steps: int,
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K KV"]]:
    """Return (o, the state after it) of one token; the state is H and G, side by side."""
    written = (strength[..., None] * k).mT * torch.cat((k, v), dim=-1)
    state = state * log_decay.exp()[..., None] + written
    of_keys, of_values = state.split((k.shape[-1], v.shape[-1]), dim=-1)
    added = ridge.to(state.dtype)[:, None]
    x = _conjugate_gradients(lambda p: p @ of_keys + added * p, q.to(state.dtype), steps)
    return (x @ of_values).to(v.dtype), state


def _conjugate_gradients(times: Callable[[Tensor], Tensor], q: Tensor, steps: int) -> Tensor:
    """Solve A x = q, in every row, by so many steps from x = 0."""
    # Once a row is solved both numbers of a quotient vanish; their squares must not underflow.
    least = torch.finfo(q.dtype).tiny ** 0.25
    x, rest, along = torch.zeros_like(q), q, q
    size = rest.square().sum(dim=-1, keepdim=True)
    for _ in range(steps):
        image = times(along)
        far = size / ((along * image).sum(dim=-1, keepdim=True) + least)
        x, rest = x + far * along, rest - far * image
        before, size = size, rest.square().sum(dim=-1, keepdim=True)
        along = rest + size / (before + least) * along
    return x
