"""Shifted sparse attention is masked softmax over groups, other ones in half of the heads."""

import numpy as np
import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


@pytest.mark.parametrize(("length", "group"), [(1, 4), (17, 6), (23, 5), (16, 4), (7, 10), (6, 1)])
@patterns
def test_the_last_half_of_the_heads_shift_their_groups(pattern, length, group):
    attention, (t, s) = build_sparse("shifted", pattern, group=group), pairs(length)
    plain = t // group == s // group
    begins = np.arange(length) % group == (group // 2 if group > 1 else 0)
    number = begins.cumsum()
    shifted = number[:, None] == number
    visible = np.stack([plain, plain, shifted])
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible[:, None].any(axis=0)[0])


@pytest.mark.parametrize(("group", "heads"), [(19, 1), (38, 3)])
@patterns
def test_one_group_is_softmax(pattern, group, heads):
    # Half a group must hold the sequence where heads shift: nothing is rolled round.
    assert_equals_softmax(build_sparse("shifted", pattern, group=group, heads=heads), 19)
