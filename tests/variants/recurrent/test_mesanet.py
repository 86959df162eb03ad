"""MesaNet against the regression solved directly, token by token."""

import pytest
import torch
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def regression(attention, x, heads=HEADS):
    """Weighted sums over the past, each system solved by LU, then normed and projected."""
    width = x.shape[2] // heads
    (q, k, v, _, _), _ = attention.read(x, attention.nothing_recent(len(x)))
    gamma = torch.sigmoid(x @ attention.decay.weight.T + attention.decay.bias)
    beta = torch.sigmoid(x @ attention.strength.weight.T + attention.strength.bias)
    ridge = torch.log1p(torch.exp(attention.ridge)) + 0.25
    out = torch.zeros_like(x)
    for head in range(heads):
        for t in range(x.shape[1]):
            share = torch.ones(len(x), t + 1).double()
            for s in range(t + 1):
                share[:, s] = beta[:, s, head] * gamma[:, s + 1 : t + 1, head].prod(dim=1)
            keys = k[:, head, : t + 1]
            system = (share[..., None] * keys).mT @ keys + torch.diag(ridge[head])
            solved = torch.linalg.solve(system, q[:, head, t])
            weights = share * (keys @ solved[..., None])[..., 0]
            mixed = (weights[:, None] @ v[:, head, : t + 1])[:, 0]
            mixed = mixed / (mixed.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
            out[:, t, head * width : (head + 1) * width] = mixed * attention.norm.weight
    return out @ attention.output.weight.T


def drawn(**options):
    attention = build("mesanet", "cs", **options).requires_grad_(False)
    for number, parameter in enumerate(attention.parameters()):
        parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_mesanet_solves_the_regression(length):
    attention, x = drawn(), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), regression(attention, x)) <= 1e-10


def test_two_heads_have_four_value_heads():
    attention, x = build("mesanet", "cs", dim=12, heads=2), draw(BATCH, 9, 12)
    with torch.no_grad():
        assert attention.ridge.shape == (4, 6)
        assert relative_difference(attention(x), regression(attention, x, 4)) <= 1e-10


def test_fewer_steps_are_further_from_the_solution():
    x, errors = draw(BATCH, 40, DIM), []
    for steps in (1, 2, 4, HEAD_WIDTH):
        attention = drawn(steps=steps)
        errors.append(relative_difference(attention(x), regression(attention, x)))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-3
    assert errors[-1] < 1e-8


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("mesanet", "cs", dtype)
