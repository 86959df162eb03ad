"""HGRN2 against its recurrence, and its forget gates against their bound."""

import math

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def bounded(bound):
    """Build with one lower bound for all channels."""
    attention = build("hgrn2", "cs").requires_grad_(False)
    attention.bound.fill_(math.log(bound / (1 - bound)))
    return attention


def gates(attention, x):
    bound = attention.bound.sigmoid()
    return bound + (1 - bound) * torch.sigmoid(x @ attention.forget.weight.T)


def recurrence(attention, x):
    """S = diag(f) S + (1 - f) i^T, read by q."""
    forget, value = gates(attention, x), x @ attention.input.weight.T
    query, out = F.silu(x @ attention.query.weight.T), torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        state = torch.zeros(x.shape[0], HEAD_WIDTH, HEAD_WIDTH, dtype=x.dtype)
        for t in range(x.shape[1]):
            f, i = forget[:, t, cut, None], value[:, t, None, cut]
            state = f * state + (1 - f) * i
            out[:, t, cut] = (query[:, t, None, cut] @ state)[:, 0]
    normed = out / (out.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return normed @ attention.output.weight.T


@pytest.mark.parametrize("bound", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("length", [1, 2, 7, 65])
def test_hgrn2_is_its_recurrence(length, bound):
    attention, x = bounded(bound), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), recurrence(attention, x)) <= 1e-10


def test_no_gate_forgets_more_than_the_bound_allows():
    attention, x = bounded(0.9), 1000 * draw(BATCH, 17, DIM)
    (_, k, _, log_keep), _ = attention.read(x, torch.empty(BATCH, 0, 0))
    assert log_keep.exp().min() >= 0.9 - 1e-7
    assert log_keep.exp().min() <= 0.9 + 1e-6
    torch.testing.assert_close(k, -torch.expm1(log_keep))


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("hgrn2", "cs", dtype)
