"""Block-local attention is masked softmax over its blocks."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


@pytest.mark.parametrize(("length", "block"), [(1, 3), (17, 5), (23, 1), (15, 5), (7, 16)])
@patterns
def test_only_tokens_of_the_same_block_meet(pattern, length, block):
    attention, (t, s) = build_sparse("block-local", pattern, block=block), pairs(length)
    visible = t // block == s // block
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@patterns
def test_one_block_is_softmax(pattern):
    assert_equals_softmax(build_sparse("block-local", pattern, block=19), 19)
