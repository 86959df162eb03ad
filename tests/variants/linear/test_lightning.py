"""Lightning attention against its sum over pairs."""

import math

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def pairs(attention, x, heads, parts=1, longest=512):
    """sum_s lambda^(t - s) (swish q_t . swish k_s) v_s, then the norm over all heads.

    The values of each of `heads` are cut into `parts`, which have decays of their own.
    """
    width = x.shape[2] // heads
    narrow, number = width // parts, heads * parts
    q, k, v = (x @ part.weight.T for part in (attention.query, attention.key, attention.value))
    q, k, out = F.silu(q), F.silu(k), torch.zeros_like(x)
    for part in range(number):
        head = part // parts
        cut = slice(head * width, (head + 1) * width)
        own = slice(part * narrow, (part + 1) * narrow)
        rate = math.exp(-(longest ** (-(part + 1) / number)))
        for t in range(x.shape[1]):
            for s in range(t + 1):
                weight = (q[:, t, cut] * k[:, s, cut]).sum(dim=-1, keepdim=True)
                out[:, t, own] += rate ** (t - s) * weight * v[:, s, own]
    out = out / (out.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    return out @ attention.output.weight.T


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 17])
def test_lightning_is_its_sum_over_pairs(length, block):
    attention, x = build("lightning", "cs", block=block), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), pairs(attention, x, heads=3)) <= 1e-11


@pytest.mark.parametrize(("dim", "heads", "parts"), [(16, 2, 2), (12, 1, 4)])
def test_fewer_than_four_heads_have_value_heads(dim, heads, parts):
    attention, x = build("lightning", "cs", dim=dim, heads=heads), draw(BATCH, 17, dim)
    with torch.no_grad():
        assert relative_difference(attention(x), pairs(attention, x, heads, parts)) <= 1e-11


@pytest.mark.parametrize("train_length", [100, 128])
def test_the_longest_time_constant_is_twice_the_length_of_training(train_length):
    geometry = {"pattern": "cs", "max_length": 4 * train_length, "train_length": train_length}
    attention = type(build("lightning", "cs"))(dim=16, heads=4, **geometry).double()
    x = draw(BATCH, 17, 16)
    with torch.no_grad():
        expected = pairs(attention, x, heads=4, longest=2 * train_length)
        assert relative_difference(attention(x), expected) <= 1e-11


def test_at_128_tokens_the_decays_are_the_papers():
    geometry = {"pattern": "cs", "max_length": 512, "train_length": 128}
    attention = type(build("lightning", "cs"))(dim=16, heads=8, **geometry).double()
    state = attention.absorb(None, *torch.ones(2, 1, 8, 1, 2).double())
    faded = attention.absorb(
        state._replace(total=torch.ones_like(state.total)), *torch.zeros(2, 1, 8, 1, 2).double()
    )
    expected = [math.exp(-(2.0**-h)) for h in range(1, 9)]
    torch.testing.assert_close(faded.total[0, :, 0, 0], torch.tensor(expected).double())


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("lightning", "cs", dtype)
