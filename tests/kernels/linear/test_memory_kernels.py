"""Least squares and log-linear attention: any chunk gives the recurrence, and its gradients."""

import pytest
import torch
from support import draw, relative_difference

from cab.kernels.linear.least_squares import least_squares_attention, least_squares_step
from cab.kernels.linear.log_linear import log_linear_attention, log_linear_step

B, H, K, V, LEVELS = 2, 3, 5, 4, 4


def inputs(length):
    """Draw q, k, v, a gate (of log-linear attention the weights), and the log decay."""
    q, k = (draw(B, H, length, K, seed=seed) for seed in "qk")
    k = torch.nn.functional.normalize(k, dim=-1)
    return q, k, draw(B, H, length, V, seed="v"), -draw(B, H, length, seed="g").square()


def least_squares(length):
    q, k, v, log_decay = inputs(length)
    strength = draw(B, H, length, seed="b").sigmoid()
    ridge = 0.5 + draw(H, K, seed="r").square()
    return (q, k, v, strength, log_decay, ridge), {"steps": 2 * K}


def log_linear(length):
    q, k, v, log_decay = inputs(length)
    return (q, k, v, draw(B, H, length, LEVELS, seed="w"), log_decay), {}


def stepped(kind, tensors, options):
    """Take the recurrence token by token."""
    q, k, v, gate, log_decay, *ridge = tensors
    out = []
    state = q.new_zeros(B, H, K, K + V) if ridge else q.new_zeros(B, H, 1, K, V)
    for t in range(q.shape[2]):
        one = [x[:, :, t : t + 1] for x in (q, k, v, gate, log_decay)]
        if ridge:
            answer, state = least_squares_step(state, *one, *ridge, **options)
        else:
            answer, state = log_linear_step(state, *one, position=t)
        out.append(answer)
    return torch.cat(out, dim=2)


KERNELS = {
    "least squares": (least_squares, least_squares_attention),
    "log-linear": (log_linear, log_linear_attention),
}


@pytest.mark.parametrize("length", [1, 6, 37])
@pytest.mark.parametrize("chunk", [1, 4, 32])
@pytest.mark.parametrize("kind", KERNELS)
def test_chunks_are_the_recurrence_with_its_gradients(kind, chunk, length):
    make, kernel = KERNELS[kind]
    tensors, options = make(length)
    found = []
    for run in (
        lambda leaves: kernel(*leaves, chunk=chunk, **options),
        lambda leaves: stepped(kind, leaves, options),
    ):
        leaves = [x.clone().requires_grad_() for x in tensors]
        out = run(leaves)
        above = draw(*out.shape, seed="from above")
        gradients = torch.autograd.grad(out, leaves, above, materialize_grads=True)
        found.append([out, *gradients])
    for got, expected in zip(*found, strict=True):
        assert relative_difference(got, expected) <= 1e-10


@pytest.mark.parametrize("kind", KERNELS)
def test_strong_decays_and_half_precision_stay_finite(kind):
    make, kernel = KERNELS[kind]
    tensors, options = make(70)
    leaves = [x.bfloat16().requires_grad_() for x in tensors]
    leaves[4] = (200 * leaves[4]).detach().requires_grad_()
    out = kernel(*leaves, chunk=16, **options)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert out.isfinite().all()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves)


def test_a_solved_system_leaves_nothing_to_do():
    """More steps than unknowns change nothing, and their gradients stay finite, in float32."""
    tensors, _ = least_squares(9)
    leaves = [x.float().requires_grad_() for x in tensors]
    few, many = (least_squares_attention(*leaves, steps=steps) for steps in (2 * K, 20 * K))
    assert relative_difference(many, few) <= 1e-5
    many.sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves)
