"""Strided attention is masked softmax over the near tokens and every l-th one."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


@pytest.mark.parametrize(("length", "stride"), [(1, 3), (17, 5), (23, 4), (16, 4), (7, 6), (9, 8)])
@patterns
def test_the_local_and_the_strided_set_of_the_paper_are_one_softmax(pattern, length, stride):
    attention, (t, s) = build_sparse("strided", pattern, stride=stride), pairs(length)
    # A(1) of the paper reaches back by l, A(2) holds every l-th token.
    visible = (abs(t - s) <= stride) | ((t - s) % stride == 0)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@pytest.mark.parametrize("stride", [1, 19, 30])
@patterns
def test_a_stride_of_one_or_of_the_length_is_softmax(pattern, stride):
    assert_equals_softmax(build_sparse("strided", pattern, stride=stride), 19)
