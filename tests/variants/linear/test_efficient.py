"""Efficient attention against its two softmaxes over all pairs."""

import pytest
from linear_oracles import assert_is
from long_sequences import assert_survives, both_dtypes


def weigh_twice(attention, q, k, v, head):
    weights = q.softmax(dim=1) @ k.softmax(dim=0).T
    assert weights.sum(dim=1).allclose(weights.new_ones(len(q)))
    return weights @ v


@pytest.mark.parametrize("pattern", ["ns", "nc"])
def test_efficient_attention_is_its_quadratic_form(pattern):
    assert_is("efficient", pattern, weigh_twice)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("efficient", "ns", dtype)
