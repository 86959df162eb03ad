"""Lightning attention against its sum over pairs."""

import math

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def pairs(attention, x, heads, longest=256):
    """sum_s lambda^(t - s) (swish q_t . swish k_s) v_s, then the norm over all heads."""
    width = x.shape[2] // heads
    q, k, v = (x @ part.weight.T for part in (attention.query, attention.key, attention.value))
    q, k, out = F.silu(q), F.silu(k), torch.zeros_like(x)
    for head in range(heads):
        cut = slice(head * width, (head + 1) * width)
        rate = math.exp(-(longest ** (-(head + 1) / heads)))  # of 256 tokens: exp(-2^(-8 h / H))
        for t in range(x.shape[1]):
            for s in range(t + 1):
                weight = (q[:, t, cut] * k[:, s, cut]).sum(dim=-1, keepdim=True)
                out[:, t, cut] += rate ** (t - s) * weight * v[:, s, cut]
    out = out / (out.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    return out @ attention.output.weight.T


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 17])
def test_lightning_is_its_sum_over_pairs(length, block):
    attention, x = build("lightning", "cs", block=block), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), pairs(attention, x, heads=3)) <= 1e-11


@pytest.mark.parametrize(("dim", "heads"), [(16, 2), (12, 1)])
def test_fewer_than_four_heads_are_four_of_their_own(dim, heads):
    attention, x = build("lightning", "cs", dim=dim, heads=heads), draw(BATCH, 17, dim)
    with torch.no_grad():
        assert relative_difference(attention(x), pairs(attention, x, heads=4)) <= 1e-11


def test_the_longest_time_constant_is_the_length_of_training():
    geometry = {"dim": 16, "heads": 4, "pattern": "cs", "max_length": 400, "train_length": 100}
    attention, x = type(build("lightning", "cs"))(**geometry).double(), draw(BATCH, 17, 16)
    with torch.no_grad():
        expected = pairs(attention, x, heads=4, longest=100)
        assert relative_difference(attention(x), expected) <= 1e-11


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("lightning", "cs", dtype)
