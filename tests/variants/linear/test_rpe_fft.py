"""Convolved attention against its sum over pairs, weight by weight."""

import pytest
import torch
from linear_oracles import assert_is, normalised
from long_sequences import both_dtypes
from support import DIM, VARIANTS, build, draw

from cab.attention import build_attention
from cab.taxonomy import Pattern

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


def learn_distances(attention):
    with torch.no_grad():
        attention.bias.copy_(draw(*attention.bias.shape, seed="bias"))


def weigh_by_distance(attention, q, k, v, head):
    def features(x):
        unit = x / x.square().sum(dim=1, keepdim=True).sqrt()
        return torch.exp(unit @ attention.frequencies.T)

    # The bias ends at t - s = L - 1, whatever the distance it begins with.
    distance = torch.arange(len(q))[:, None] - torch.arange(len(k))
    place = attention.bias.shape[1] - attention.max_length + distance
    place = place.clamp(min=0) if attention.pattern == "cs" else place
    weights = attention.bias[head, place].exp() * (features(q) @ features(k).T)
    return normalised(attention, weights) @ v


@pytest.mark.parametrize("block", [1, 3, 64])
@patterns
def test_convolutions_are_the_sum_over_pairs(pattern, block):
    assert_is(
        "rpe-fft",
        pattern,
        weigh_by_distance,
        lengths=(1, 2, 17, 70),
        prepare=learn_distances,
        block=block,
    )


@patterns
def test_blocks_change_neither_values_nor_gradients(pattern):
    results = []
    for block in (2, 256):
        attention = build("rpe-fft", pattern, block=block)
        learn_distances(attention)
        x = draw(2, 37, DIM).requires_grad_()
        out = attention(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), (x, attention.bias))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_a_later_token_far_larger_than_others_does_not_touch_the_past():
    # One transform of the whole sequence would round the past by the size of the future.
    attention = build("rpe-fft", "cs", dtype=torch.float32, block=4)
    x = draw(1, 40, DIM, dtype=torch.float32)
    before = attention(x)
    x[:, 20:] *= 1e6
    assert attention(x)[:, :20].equal(before[:, :20])


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    length, options = 16_385, {"features": 2}
    attention = build_attention(
        VARIANTS.load("rpe-fft"),
        options,
        dim=8,
        heads=2,
        pattern=Pattern.CS,
        max_length=length,
    )
    x = draw(1, length, 8, dtype=dtype).requires_grad_()
    attention.to(dtype)(x).square().sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in (x, *attention.parameters()))
