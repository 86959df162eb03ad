"""Axial attention is softmax along rows, whose outputs are mixed by softmax along columns."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    places,
)
from support import DIM, draw, relative_difference


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 1), (5, 7), (8, 3), (6, 6)])
def test_rows_are_mixed_first_and_columns_after(grid):
    attention = build_sparse("axial", grid=grid)
    (row_t, column_t), (row_s, column_s) = places(grid)
    stages = row_t == row_s, column_t == column_s
    assert_equals_masked_softmax(attention, *stages)
    assert_card_says(attention, *stages)


@pytest.mark.parametrize("grid", [(1, 19), (19, 1)])
def test_a_picture_of_one_row_or_one_column_is_softmax(grid):
    assert_equals_softmax(build_sparse("axial", grid=grid), 19)


def test_a_transposed_picture_does_not_pass_for_the_picture():
    attention = build_sparse("axial", grid=(4, 6))
    x = draw(1, 24, DIM)
    turned = build_sparse("axial", grid=(6, 4))
    turned_out = turned(x.unflatten(1, (4, 6)).transpose(1, 2).flatten(1, 2))
    back = turned_out.unflatten(1, (6, 4)).transpose(1, 2).flatten(1, 2)
    assert relative_difference(back, attention(x)) > 1e-3
