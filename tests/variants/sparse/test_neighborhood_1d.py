"""Neighbourhood attention on sequences is masked softmax over the k nearest tokens."""

import numpy as np
import pytest
from sparse_oracles import (
    BATCH,
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    masked_softmax,
    nearest,
    pairs,
)
from support import DIM, draw, relative_difference, right_padding

sizes = pytest.mark.parametrize(
    ("length", "kernel", "dilation"),
    [(1, 3, 1), (2, 3, 2), (17, 5, 1), (17, 4, 1), (23, 3, 4), (19, 5, 3), (9, 7, 2), (6, 9, 1)],
)


@sizes
def test_the_k_nearest_tokens_are_seen_also_at_the_ends(length, kernel, dilation):
    attention = build_sparse("neighborhood-1d", kernel=kernel, dilation=dilation)
    visible, x = nearest(length, kernel, dilation), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), masked_softmax(attention, x, visible)) <= 1e-12
    assert_card_says(attention, visible)


@sizes
def test_the_windows_of_a_padded_row_are_pushed_inward_at_its_own_end(length, kernel, dilation):
    attention = build_sparse("neighborhood-1d", kernel=kernel, dilation=dilation)
    lengths = [length, (length + 1) // 2, max(0, length - 2)]
    visible = np.zeros((BATCH, 1, length, length), bool)
    for row, own in enumerate(lengths):
        visible[row, 0, :own, :own] = nearest(own, kernel, dilation)
    x, padding = draw(BATCH, length, DIM), right_padding(lengths, length)
    expected = masked_softmax(attention, x, visible, padding=padding)
    out = attention(x, key_padding_mask=padding).masked_fill(padding[:, :, None], 0.0)
    assert relative_difference(out, expected) <= 1e-12


@sizes
def test_causal_windows_are_the_last_k_tokens(length, kernel, dilation):
    attention = build_sparse("neighborhood-1d", "cs", kernel=kernel, dilation=dilation)
    t, s = pairs(length)
    visible = ((t - s) % dilation == 0) & (t - s < kernel * dilation)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_a_kernel_of_the_length_is_softmax(pattern):
    assert_equals_softmax(build_sparse("neighborhood-1d", pattern, kernel=19), 19)


def test_causal_attention_without_dilation_is_that_of_a_window():
    neighborhood = build_sparse("neighborhood-1d", "cs", kernel=5)
    window = build_sparse("window", "cs", window=5)
    x = draw(2, 23, DIM)
    assert relative_difference(neighborhood(x), window(x)) <= 1e-12
