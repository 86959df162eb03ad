"""Halo attention is masked softmax over a block and the tokens round it."""

import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    places,
)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 1), (5, 7), (8, 3), (6, 6)])
@pytest.mark.parametrize(("block", "halo"), [(3, 1), (2, 3), (4, 0), (1, 2), (9, 1)])
def test_a_query_sees_its_block_and_the_halo_inside_the_picture(grid, block, halo):
    attention = build_sparse("halo", grid=grid, block=block, halo=halo)
    (row_t, column_t), (row_s, column_s) = places(grid)
    top, left = row_t - row_t % block, column_t - column_t % block
    visible = (row_s >= top - halo) & (row_s <= top + block - 1 + halo)
    visible = visible & (column_s >= left - halo) & (column_s <= left + block - 1 + halo)
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@pytest.mark.parametrize("options", [{"block": 8, "halo": 0}, {"block": 2, "halo": 6}])
def test_a_block_or_a_halo_as_large_as_the_picture_is_softmax(options):
    assert_equals_softmax(build_sparse("halo", grid=(5, 7), **options), 35)


def test_halo_without_blocks_is_a_window_on_both_axes():
    attention = build_sparse("halo", grid=(5, 7), block=1, halo=2)
    (row_t, column_t), (row_s, column_s) = places((5, 7))
    assert_equals_masked_softmax(
        attention, (abs(row_t - row_s) <= 2) & (abs(column_t - column_s) <= 2)
    )
