"""Gated DeltaNet against its recurrence, and at a gate of 1, where it is DeltaNet."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEADS, build, draw, relative_difference

KEYS = 4  # three quarters of 5, rounded up


def recurrence(attention, x, heads=HEADS, keys=KEYS):
    """S = alpha (I - beta k k^T) S + beta k v^T, normed, gated."""
    width = x.shape[2] // heads
    recent = torch.zeros(x.shape[0], 3, attention.convolution.channels).to(x)
    (q, k, v, _, _), _ = attention.read(x, recent)
    assert k.shape[1:] == (heads, x.shape[1], keys)
    assert v.shape[1:] == (heads, x.shape[1], width)
    most = 2 if attention.config.negative else 1
    strength = most * torch.sigmoid(x @ attention.strength.weight.T)
    step = torch.log1p(torch.exp(x @ attention.decay.weight.T + attention.decay.bias))
    alpha = torch.exp(-torch.exp(attention.log_rate) * step)
    out, identity = torch.zeros_like(x), torch.eye(keys, dtype=x.dtype)
    for head in range(heads):
        state = torch.zeros(x.shape[0], keys, width, dtype=x.dtype)
        for t in range(x.shape[1]):
            key, rate = k[:, head, t, :, None], strength[:, t, head, None, None]
            erase = identity - rate * key @ key.mT
            state = alpha[:, t, head, None, None] * erase @ state
            state = state + rate * key * v[:, head, t, None]
            mixed = (q[:, head, t, None] @ state)[:, 0]
            mixed = mixed / (mixed.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
            out[:, t, head * width : (head + 1) * width] = mixed
    return (out * F.silu(x @ attention.gate.weight.T)) @ attention.output.weight.T


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 70])
def test_gated_deltanet_is_its_recurrence(length, negative):
    attention = build("gated-deltanet", "cs", negative=negative)
    x = draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), recurrence(attention, x)) <= 1e-10


@pytest.mark.parametrize(("dim", "heads", "keys"), [(16, 2, 6), (16, 1, 12)])
def test_fewer_than_four_heads_have_value_heads(dim, heads, keys):
    attention, x = build("gated-deltanet", "cs", dim=dim, heads=heads), draw(BATCH, 33, dim)
    (q, k, _, _, _), _ = attention.read(x, torch.zeros(BATCH, 3, 2 * heads * keys + dim).to(x))
    for shared in (q, k):
        apart = shared.unflatten(1, (heads, -1))
        assert apart.equal(apart[:, :, :1].expand_as(apart))
        assert not shared[:, 0].equal(shared[:, -1]) or heads == 1
    with torch.no_grad():
        assert relative_difference(attention(x), recurrence(attention, x, 4, keys)) <= 1e-10


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
