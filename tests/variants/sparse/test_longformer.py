"""Longformer's attention is masked softmax over a window, to and from the global tokens."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)
from support import draw, relative_difference

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


@pytest.mark.parametrize(
    ("length", "window", "first"), [(1, 3, 2), (17, 5, 2), (23, 1, 3), (9, 4, 20), (7, 8, 1)]
)
@patterns
def test_global_tokens_see_and_are_seen_by_all(pattern, length, window, first):
    attention = build_sparse("longformer", pattern, window=window, global_tokens=first)
    t, s = pairs(length)
    visible = (abs(t - s) < window) | (s < first) | (t < first)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@pytest.mark.parametrize(("window", "first"), [(19, 1), (1, 19)])
@patterns
def test_a_window_of_the_length_or_all_tokens_global_is_softmax(pattern, window, first):
    assert_equals_softmax(
        build_sparse("longformer", pattern, window=window, global_tokens=first), 19
    )


def test_causal_global_tokens_are_the_sinks_of_streaming():
    longformer = build_sparse("longformer", "cs", window=5, global_tokens=2)
    streaming = build_sparse("streaming", "cs", window=5, sinks=2)
    x = draw(2, 23, longformer.dim)
    assert relative_difference(longformer(x), streaming(x)) == 0
