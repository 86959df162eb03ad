"""The trapezoidal kernel: any chunk gives the recurrence, from any state, and its gradients."""

import pytest
import torch
from support import draw, relative_difference

from cab.kernels.linear.trapezoidal import trapezoidal_attention

B, H, R, K, V = 2, 3, 2, 5, 4


def inputs(length, rank):
    """Draw q, k, v, both weights, the log decay, and what came before."""
    q, k = (draw(B, H, length, rank, K, seed=seed) for seed in "qk")
    own, last = (draw(B, H, length, seed=seed).sigmoid() for seed in "ol")
    before = draw(B, H, K, V, seed="s"), draw(B, H, rank, K, seed="lk"), draw(B, H, rank, V)
    decay = -draw(B, H, length, seed="g").square()
    return [q, k, draw(B, H, length, rank, V, seed="v"), own, last, decay, *before]


def recurrence(q, k, v, own, last, log_decay, state, last_key, last_value):
    """Take the recurrence token by token, as the module's docstring has it."""
    out = []
    for t in range(q.shape[2]):
        decay = log_decay[:, :, t, None, None].exp()
        state = decay * (state + last[:, :, t, None, None] * (last_key.mT @ last_value))
        last_key, last_value = k[:, :, t], v[:, :, t]
        state = state + own[:, :, t, None, None] * (last_key.mT @ last_value)
        out.append(q[:, :, t] @ state)
    return torch.stack(out, dim=2), state


@pytest.mark.parametrize("length", [1, 6, 37])
@pytest.mark.parametrize("chunk", [1, 4, 37, 64])
@pytest.mark.parametrize("rank", [1, R])
def test_chunks_are_the_recurrence_with_its_gradients(rank, chunk, length):
    found = []
    for run in (lambda *leaves: trapezoidal_attention(*leaves, chunk=chunk), recurrence):
        leaves = [x.requires_grad_() for x in inputs(length, rank)]
        out = run(*leaves)
        above = [draw(*x.shape, seed="from above") for x in out]
        gradients = torch.autograd.grad(out, leaves, above, materialize_grads=True)
        found.append([*out, *gradients])
    for got, expected in zip(*found, strict=True):
        assert relative_difference(got, expected) <= 1e-10


def test_no_bit_of_the_future_is_read():
    length, t = 21, 9
    tensors = inputs(length, R)
    changed = [x.clone() for x in tensors]
    for x in changed[:6]:
        x[:, :, t + 1 :] = 1e6 * x[:, :, t + 1 :]
    first, second = (trapezoidal_attention(*x, chunk=8)[0] for x in (tensors, changed))
    assert torch.equal(first[:, :, : t + 1], second[:, :, : t + 1])


def test_strong_decays_and_half_precision_stay_finite():
    tensors = [x.bfloat16() for x in inputs(70, 1)]
    tensors[5] = 200 * tensors[5]
    leaves = [x.requires_grad_() for x in tensors]
    out, state = trapezoidal_attention(*leaves, chunk=16)
    assert out.dtype == state.dtype == torch.float32
    (out.sum() + state.sum()).backward()
    assert out.isfinite().all()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves)
