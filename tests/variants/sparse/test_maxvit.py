"""Multi-axis attention is softmax within blocks, whose outputs are mixed by softmax over grids."""

import math

import numpy as np
import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    places,
)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 1), (5, 7), (9, 4), (6, 6)])
@pytest.mark.parametrize(("block", "cells"), [(3, 2), (2, 3), (2, 1), (1, 2), (4, 4), (9, 9)])
def test_blocks_are_mixed_first_and_grids_after(grid, block, cells):
    attention = build_sparse("maxvit", grid=grid, block=block, cells=cells)
    (row_t, column_t), (row_s, column_s) = places(grid)
    blocks = (row_t // block == row_s // block) & (column_t // block == column_s // block)
    down, across = (math.ceil(size / cells) for size in grid)
    spread = ((row_t - row_s) % down == 0) & ((column_t - column_s) % across == 0)
    assert spread.sum(axis=1).max() <= cells**2
    assert_equals_masked_softmax(attention, blocks, spread)
    assert_card_says(attention, blocks, spread)


@pytest.mark.parametrize("options", [{"block": 7, "cells": 1}, {"block": 1, "cells": 7}])
def test_either_stage_over_the_whole_picture_with_the_other_idle_is_softmax(options):
    assert_equals_softmax(build_sparse("maxvit", grid=(5, 7), **options), 35)


def test_blocks_as_long_as_the_steps_of_the_grid_read_the_whole_picture():
    attention = build_sparse("maxvit", grid=(8, 8), block=4, cells=2)
    assert_card_says(attention, np.ones((64, 64), bool))
