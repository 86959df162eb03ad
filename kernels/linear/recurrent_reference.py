"""The oracles of the recurrent kernels: each recurrence as it is written, in float64.

All loop over tokens and keep nothing but the state.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def scalar_decay_reference(
    q: Float[Tensor, "B G N K"],
    k: Float[Tensor, "B J N K"],
    v: Float[Tensor, "B H N V"],
    log_decay: Float[Tensor, "B H N"],
) -> Float[Tensor, "B H N V"]:
    """S_t = exp(g_t) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t."""
    k = k.expand(*v.shape[:3], -1)
    return vector_decay_reference(q.expand_as(k), k, v, log_decay[..., None].expand_as(k))


def vector_decay_reference(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    log_decay: Float[Tensor, "B H N K"],
) -> Float[Tensor, "B H N V"]:
    """S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t."""
    q, k, v, log_decay = q.double(), k.double(), v.double(), log_decay.double()
    state, out = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for t in range(v.shape[2]):
        state = log_decay[:, :, t, :, None].exp() * state
        state = state + k[:, :, t, :, None] * v[:, :, t, None]
        out.append((q[:, :, t, None] @ state)[:, :, 0])
    return torch.stack(out, dim=2)


def delta_rule_reference(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    strength: Float[Tensor, "B H N"],
    log_decay: Float[Tensor, "B H N"],
) -> Float[Tensor, "B H N V"]:
    """S_t = exp(g_t) (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, o_t = S_t^T q_t."""
    q, k, v = q.double(), k.double(), v.double()
    strength, log_decay = strength.double(), log_decay.double()
    state, out = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for t in range(v.shape[2]):
        key, rate = k[:, :, t, :, None], strength[:, :, t, None, None]
        identity = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
        erased = (identity - rate * key @ key.mT) @ state
        state = log_decay[:, :, t, None, None].exp() * erased + rate * key * v[:, :, t, None]
        out.append((q[:, :, t, None] @ state)[:, :, 0])
    return torch.stack(out, dim=2)


def generalised_delta_reference(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    a: Float[Tensor, "B H N K"],
    b: Float[Tensor, "B H N K"],
    log_decay: Float[Tensor, "B H N K"],
) -> Float[Tensor, "B H N V"]:
    """S_t = (diag(exp(g_t)) + b_t a_t^T) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t."""
    q, k, v, a, b, log_decay = (x.double() for x in (q, k, v, a, b, log_decay))
    state, out = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for t in range(v.shape[2]):
        change = torch.diag_embed(log_decay[:, :, t].exp())
        change = change + b[:, :, t, :, None] * a[:, :, t, None]
        state = change @ state + k[:, :, t, :, None] * v[:, :, t, None]
        out.append((q[:, :, t, None] @ state)[:, :, 0])
    return torch.stack(out, dim=2)


def diagonal_reference(
    u: Float[Tensor, "B N D"],
    log_pole: Float[Tensor, "D S"] | Complex[Tensor, "D S"],
    weight: Float[Tensor, "D S"] | Complex[Tensor, "D S"],
) -> Float[Tensor, "B N D"]:
    """X_t = p X_{t-1} + u_t, y_t = Re sum_n w_n X_tn."""
    log_pole, weight = log_pole.to(torch.complex128), weight.to(torch.complex128)
    state, out = u.new_zeros(u.shape[0], *log_pole.shape).to(torch.complex128), []
    for t in range(u.shape[1]):
        state = log_pole.exp() * state + u[:, t, :, None].double()
        out.append((weight * state).sum(dim=-1).real)
    return torch.stack(out, dim=1)
