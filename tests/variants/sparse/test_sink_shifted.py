"""Sink fixed attention is masked softmax over groups and global first tokens."""

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


@pytest.mark.parametrize(
    ("length", "group", "sinks"),
    [(1, 4, 2), (17, 6, 2), (23, 5, 1), (16, 4, 6), (7, 10, 3), (6, 1, 2)],
)
@pytest.mark.parametrize(("heads", "shifted"), [(1, 0), (3, 1), (5, 1)])
@patterns
def test_groups_and_sinks_are_seen(pattern, heads, shifted, length, group, sinks):
    options = {"group": group, "sinks": sinks}
    attention, (t, s) = (
        build_sparse("sink-shifted", pattern, heads=heads, **options),
        pairs(length),
    )
    everyone = (s < sinks) | (t < sinks)
    plain = (t // group == s // group) | everyone
    number = (np.arange(length) % group == (group // 2 if group > 1 else 0)).cumsum()
    moved = (number[:, None] == number) | everyone
    visible = np.stack([plain] * (heads - shifted) + [moved] * shifted)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible.any(axis=0))


@pytest.mark.parametrize("options", [{"group": 38, "sinks": 1}, {"group": 4, "sinks": 19}])
@patterns
def test_one_group_or_all_tokens_sinks_is_softmax(pattern, options):
    assert_equals_softmax(build_sparse("sink-shifted", pattern, **options), 19)
