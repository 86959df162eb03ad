"""FAST against its polynomial of every pair."""

import pytest
import torch
from linear_oracles import assert_is, normalised
from long_sequences import assert_survives, both_dtypes
from support import DIM, build, draw


def weigh_by_polynomial(attention, q, k, v, head):
    def standardise(x):
        x = x - x.mean(dim=1, keepdim=True)
        return x / (x.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()

    scores = standardise(q) @ standardise(k).T
    weights = 1 + scores + scores**2 / 2
    assert (weights >= 0.5).all()
    return normalised(attention, weights) @ v


@pytest.mark.parametrize("chunk", [3, 64])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_fast_is_its_quadratic_form(pattern, chunk):
    assert_is("fast", pattern, weigh_by_polynomial, chunk=chunk)


def test_the_size_of_queries_and_keys_does_not_matter():
    attention, x = build("fast", "cs"), draw(2, 17, DIM)
    before = attention(x)
    with torch.no_grad():
        attention.query.weight.mul_(50)
        attention.key.weight.mul_(50)
    torch.testing.assert_close(attention(x), before, rtol=1e-4, atol=1e-4)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("fast", "cs", dtype)
