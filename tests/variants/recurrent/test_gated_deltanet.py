"""Gated DeltaNet against its recurrence, and at a gate of 1, where it is DeltaNet."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

KEYS = 4  # three quarters of 5, rounded up


def recurrence(attention, x):
    """S = alpha (I - beta k k^T) S + beta k v^T, normed, gated."""
    (q, k, v, _, _), _ = attention.read(x, torch.zeros(x.shape[0], 3, HEADS * 13).to(x))
    assert k.shape[-1] == KEYS
    strength = torch.sigmoid(x @ attention.strength.weight.T)
    step = torch.log1p(torch.exp(x @ attention.decay.weight.T + attention.decay.bias))
    alpha = torch.exp(-torch.exp(attention.log_rate) * step)
    out, identity = torch.zeros_like(x), torch.eye(KEYS, dtype=x.dtype)
    for head in range(HEADS):
        state = torch.zeros(x.shape[0], KEYS, HEAD_WIDTH, dtype=x.dtype)
        for t in range(x.shape[1]):
            key, rate = k[:, head, t, :, None], strength[:, t, head, None, None]
            erase = identity - rate * key @ key.mT
            state = alpha[:, t, head, None, None] * erase @ state
            state = state + rate * key * v[:, head, t, None]
            mixed = (q[:, head, t, None] @ state)[:, 0]
            mixed = mixed / (mixed.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
            out[:, t, head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH] = mixed
    return (out * F.silu(x @ attention.gate.weight.T)) @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 2, 7, 70])
def test_gated_deltanet_is_its_recurrence(length):
    attention, x = build("gated-deltanet", "cs"), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), recurrence(attention, x)) <= 1e-10


def test_with_a_gate_of_one_it_is_deltanet():
    gated, plain, x = build("gated-deltanet", "cs"), build("deltanet", "cs"), draw(BATCH, 70, DIM)
    with torch.no_grad():
        gated.log_rate.fill_(-1e4)
    tokens, _ = gated.read(x, torch.zeros(BATCH, 3, HEADS * 13).to(x))
    assert not tokens[-1].any()
    ungated = (*tokens[:-1], torch.zeros_like(tokens[-1]))
    assert relative_difference(gated.mix(*tokens), plain.mix(*ungated)) <= 1e-12


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("gated-deltanet", "cs", dtype)
