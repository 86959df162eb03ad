"""DeltaNet is gradient descent on its reading error, one step per token."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def convolved(attention, x):
    """SiLU of the short convolution of (q, k, v), tap by tap."""
    projected = torch.cat(
        [x @ part.weight.T for part in (attention.query, attention.key, attention.value)], dim=-1
    )
    filters, out = attention.convolution.convolution.weight[:, 0], torch.zeros_like(projected)
    for t in range(x.shape[1]):
        for lag in range(min(t + 1, filters.shape[1])):
            out[:, t] += filters[:, -1 - lag] * projected[:, t - lag]
    return F.silu(out)


def descend(attention, x):
    """S <- S - beta grad |S^T k - v|^2 / 2, by autograd."""
    qkv, out = convolved(attention, x), torch.zeros_like(x)
    most = 2 if attention.config.negative else 1
    strength = most * torch.sigmoid(x @ attention.strength.weight.T)
    for row in range(x.shape[0]):
        for head in range(HEADS):
            state = torch.zeros(HEAD_WIDTH, HEAD_WIDTH, dtype=x.dtype)
            for t in range(x.shape[1]):
                q, k, v = (
                    part[head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH]
                    for part in qkv[row, t].chunk(3)
                )
                q, k = (part / (part.square().sum() + 1e-6).sqrt() for part in (q, k))
                state = state.detach().requires_grad_()
                error = (state.T @ k - v).square().sum() / 2
                (gradient,) = torch.autograd.grad(error, state)
                state = state - strength[row, t, head] * gradient
                mixed = state.T @ q
                mixed = mixed / (mixed.square().mean() + 1e-5).sqrt()
                out[row, t, head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH] = mixed.detach()
    return out @ attention.output.weight.T


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("length", [1, 3, 7, 70])
def test_deltanet_descends_its_reading_error(length, negative):
    attention = build("deltanet", "cs", negative=negative).requires_grad_(False)
    x = draw(2, length, DIM)
    assert relative_difference(attention(x), descend(attention, x)) <= 1e-9


@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_any_length_of_the_short_convolution_decodes(kernel):
    attention, x = build("deltanet", "cs", kernel=kernel), draw(BATCH, 7, DIM)
    state, outputs = attention.initial_state(BATCH), []
    for t in range(7):
        y, state = attention.step(x[:, t], state)
        outputs.append(y)
    assert relative_difference(torch.stack(outputs, dim=1), attention(x)) <= 1e-11


def test_with_negative_eigenvalues_the_state_tells_odd_from_even():
    """At beta = 2 one key, written again and again, is stored, erased, stored, ..."""
    attention = build("deltanet", "cs", negative=True, kernel=1).requires_grad_(False)
    attention.strength.weight.fill_(100)
    attention.key.weight.copy_(attention.query.weight)
    attention.convolution.convolution.weight.fill_(1)
    tokens, _ = attention.read(torch.ones(1, 6, DIM).double(), attention.nothing_recent(1))
    value = tokens[2]
    odd = torch.tensor([1, 0, 1, 0, 1, 0])[:, None]
    assert relative_difference(attention.mix(*tokens), 2 * odd * value) <= 1e-4  # norms add 1e-6


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("deltanet", "cs", dtype)
