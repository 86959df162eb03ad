"""StreamingLLM's attention is masked softmax over a window and the first tokens."""

import pytest
import torch
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)
from support import draw


@pytest.mark.parametrize(
    ("length", "window", "sinks"), [(1, 3, 2), (17, 5, 2), (23, 1, 3), (9, 4, 20), (7, 8, 1)]
)
def test_the_window_and_the_sinks_are_seen(length, window, sinks):
    attention = build_sparse("streaming", "cs", window=window, sinks=sinks)
    t, s = pairs(length)
    visible = (t - s < window) | (s < sinks)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@pytest.mark.parametrize(("window", "sinks"), [(19, 1), (1, 19), (10, 9)])
def test_a_window_and_sinks_that_reach_everything_are_softmax(window, sinks):
    assert_equals_softmax(build_sparse("streaming", "cs", window=window, sinks=sinks), 19)


def test_the_rolling_cache_keeps_the_sinks_and_the_newest_tokens():
    attention = build_sparse("streaming", "cs", window=3, sinks=2)
    x, state = draw(2, 11, attention.dim), attention.initial_state(2)
    for t in range(11):
        _, state = attention.step(x[:, t], state)
    kept = attention.split_heads(attention.key(x))[:, :, [0, 1, 8, 9, 10]]
    torch.testing.assert_close(state.k, kept)
