"""The inward window is masked softmax over a window that keeps its size at the borders."""

import numpy as np
import pytest
from sparse_oracles import (
    BATCH,
    assert_card_says,
    assert_equals_softmax,
    build_sparse,
    masked_softmax,
    places,
)
from support import DIM, draw, relative_difference


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 1), (5, 7), (8, 3), (6, 6)])
@pytest.mark.parametrize(("down", "across"), [(1, 2), (2, 0), (0, 1), (3, 1), (9, 9)])
def test_what_a_border_cuts_off_is_added_on_the_other_side(grid, down, across):
    attention = build_sparse("inward-window", grid=grid, down=down, across=across)
    visible = True
    for t, s, size, reach in zip(*places(grid), grid, (down, across), strict=True):
        # The authors' four corrections, which add what a border takes away.
        above, below = np.maximum(reach + t - size + 1, 0), np.maximum(reach - t, 0)
        visible = visible & (s >= t - reach - above) & (s <= t + reach + below)
    seen = min(grid[0], 2 * down + 1) * min(grid[1], 2 * across + 1)
    assert (visible.sum(axis=1) == seen).all()
    x = draw(BATCH, grid[0] * grid[1], DIM)
    assert relative_difference(attention(x), masked_softmax(attention, x, visible)) <= 1e-12
    assert_card_says(attention, visible)


def test_a_square_window_is_a_neighborhood():
    inward = build_sparse("inward-window", grid=(5, 7), down=1, across=1)
    neighborhood = build_sparse("neighborhood-2d", grid=(5, 7), kernel=3)
    x = draw(2, 35, DIM)
    assert relative_difference(inward(x), neighborhood(x)) == 0


def test_a_window_as_large_as_the_picture_is_softmax():
    assert_equals_softmax(build_sparse("inward-window", grid=(5, 7), down=2, across=3), 35)
