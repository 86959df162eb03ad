"""Overlapping cross-attention is masked softmax over a window larger than that of the queries."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    places,
)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 1), (5, 7), (8, 3), (6, 6)])
@pytest.mark.parametrize(("window", "overlap"), [(2, 1), (3, 2), (4, 0), (1, 9)])
def test_queries_of_a_window_see_the_larger_window(grid, window, overlap):
    attention = build_sparse("overlap-cross", grid=grid, window=window, overlap=overlap)
    (row_t, column_t), (row_s, column_s) = places(grid)
    # From the centre of the queries' window, a token is at most half the larger window away.
    half = window / 2 + overlap
    down = row_s + 0.5 - (row_t // window + 0.5) * window
    across = column_s + 0.5 - (column_t // window + 0.5) * window
    visible = (abs(down) < half) & (abs(across) < half)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


def test_an_overlap_as_large_as_the_picture_is_softmax():
    assert_equals_softmax(build_sparse("overlap-cross", grid=(5, 7), overlap=6), 35)
