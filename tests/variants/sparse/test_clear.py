"""CLEAR is masked softmax over a circle."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    places,
)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 1), (5, 7), (8, 3), (6, 6)])
@pytest.mark.parametrize("radius", [1, 2, 3, 5, 9])
def test_tokens_inside_the_circle_are_seen(grid, radius):
    attention = build_sparse("clear", grid=grid, radius=radius)
    (row_t, column_t), (row_s, column_s) = places(grid)
    visible = (row_t - row_s) ** 2 + (column_t - column_s) ** 2 < radius**2
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


def test_a_circle_round_the_picture_is_softmax():
    assert_equals_softmax(build_sparse("clear", grid=(5, 7), radius=8), 35)
