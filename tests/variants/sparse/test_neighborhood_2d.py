"""Neighbourhood attention on pictures is masked softmax over k nearest rows and columns."""

import numpy as np
import pytest
import torch
from sparse_oracles import (
    BATCH,
    assert_card_says,
    assert_equals_softmax,
    build_sparse,
    masked_softmax,
    nearest,
)
from support import DIM, draw, relative_difference

GRIDS = [(1, 1), (1, 7), (7, 1), (5, 7), (8, 3), (6, 6)]
KERNELS = [(3, 1), (5, 1), (4, 1), (2, 3), (3, 2), (9, 1)]
grids = pytest.mark.parametrize("grid", GRIDS)
kernels = pytest.mark.parametrize(("kernel", "dilation"), KERNELS)


@grids
@kernels
def test_the_nearest_rows_and_columns_are_seen_also_at_borders(grid, kernel, dilation):
    attention = build_sparse("neighborhood-2d", grid=grid, kernel=kernel, dilation=dilation)
    visible = np.kron(*(nearest(size, kernel, dilation) for size in grid))
    x = draw(BATCH, grid[0] * grid[1], DIM)
    assert relative_difference(attention(x), masked_softmax(attention, x, visible)) <= 1e-12
    assert_card_says(attention, visible)


@grids
@kernels
def test_a_smaller_picture_padded_to_a_larger_one_is_as_if_alone(grid, kernel, dilation):
    large = build_sparse("neighborhood-2d", grid=grid, kernel=kernel, dilation=dilation)
    own = max(1, grid[0] - 2), max(1, grid[1] - 1)
    small = build_sparse("neighborhood-2d", grid=own, kernel=kernel, dilation=dilation)
    x = draw(2, *grid, DIM)
    padding = torch.ones(2, *grid, dtype=torch.bool)
    padding[0, : own[0], : own[1]] = False
    hollow = x.masked_fill(padding[..., None], float("nan")).flatten(1, 2)
    out = large(hollow, key_padding_mask=padding.flatten(1))
    assert out.isfinite().all()
    got = out.unflatten(1, grid)[:1, : own[0], : own[1]].flatten(1, 2)
    alone = small(x[:1, : own[0], : own[1]].flatten(1, 2))
    assert relative_difference(got, alone) <= 1e-12


@pytest.mark.parametrize("grid", [(1, 19), (5, 7)])
def test_a_kernel_as_large_as_the_picture_is_softmax(grid):
    attention = build_sparse("neighborhood-2d", grid=grid, kernel=max(grid))
    assert_equals_softmax(attention, grid[0] * grid[1])


def test_tokens_that_are_no_picture_of_the_grid_are_refused():
    attention = build_sparse("neighborhood-2d", grid=(3, 4))
    with pytest.raises(ValueError, match="13 tokens are no picture of 3 x 4"):
        attention(draw(1, 13, DIM))
