"""Generalised neighbourhood attention is masked softmax over the window of a leader."""

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
    ("length", "kernel", "stride"),
    [(1, 3, 2), (2, 3, 3), (17, 5, 2), (17, 4, 4), (23, 6, 3), (20, 5, 5), (9, 11, 4), (14, 7, 6)],
)


def of_the_leader(length, kernel, stride):
    """The mask (N, N) in which a query sees the tokens nearest to the middle of its group."""
    leaders = [min(t - t % stride + stride // 2, length - 1) for t in range(length)]
    return nearest(length, kernel)[leaders] if length else np.zeros((0, 0), bool)


@sizes
def test_a_group_of_queries_sees_its_leader_s_neighbourhood(length, kernel, stride):
    attention = build_sparse("gna", kernel=kernel, stride=stride)
    visible, x = of_the_leader(length, kernel, stride), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), masked_softmax(attention, x, visible)) <= 1e-12
    assert_card_says(attention, visible)
    assert visible.diagonal().all()


@sizes
def test_the_windows_of_a_padded_row_are_pushed_inward_at_its_own_end(length, kernel, stride):
    attention = build_sparse("gna", kernel=kernel, stride=stride)
    lengths = [length, (length + 1) // 2, max(0, length - 2)]
    visible = np.zeros((BATCH, 1, length, length), bool)
    for row, own in enumerate(lengths):
        visible[row, 0, :own, :own] = of_the_leader(own, kernel, stride)
    x, padding = draw(BATCH, length, DIM), right_padding(lengths, length)
    expected = masked_softmax(attention, x, visible, padding=padding)
    out = attention(x, key_padding_mask=padding).masked_fill(padding[:, :, None], 0.0)
    assert relative_difference(out, expected) <= 1e-12


@sizes
def test_a_causal_group_begins_where_its_last_token_does(length, kernel, stride):
    attention = build_sparse("gna", "cs", kernel=kernel, stride=stride)
    t, s = pairs(length)
    last = t - t % stride + stride - 1
    assert_equals_masked_softmax(attention, last - s < kernel)
    assert_card_says(attention, last - s < kernel)


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_a_stride_of_one_slides(pattern):
    gna = build_sparse("gna", pattern, kernel=6, stride=1)
    neighborhood = build_sparse("neighborhood-1d", pattern, kernel=6)
    x = draw(2, 23, DIM)
    assert relative_difference(gna(x), neighborhood(x)) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_a_stride_of_the_kernel_gives_blocks(pattern):
    gna = build_sparse("gna", pattern, kernel=5, stride=5)
    blocks = build_sparse("block-local", pattern, block=5)
    x = draw(2, 25, DIM)
    assert relative_difference(gna(x), blocks(x)) <= 1e-12


def test_a_kernel_of_the_length_is_softmax():
    assert_equals_softmax(build_sparse("gna", kernel=19, stride=4), 19)
