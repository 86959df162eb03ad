"""Long-range grouping is masked softmax over remainders, plus a convolution of the values."""

import numpy as np
import pytest
import torch
from sparse_oracles import (
    BATCH,
    assert_card_says,
    assert_equals_masked_softmax,
    build_sparse,
    places,
)
from support import DIM, draw, relative_difference

GRIDS = pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 7), (8, 3), (6, 6)])


def same_group(grid, step):
    (row_t, column_t), (row_s, column_s) = places(grid)
    return ((row_t - row_s) % step == 0) & ((column_t - column_s) % step == 0)


@GRIDS
@pytest.mark.parametrize("step", [1, 2, 3, 9])
def test_without_its_convolution_it_is_softmax_within_groups(grid, step):
    attention = build_sparse("grouping", grid=grid, step=step)
    with torch.no_grad():
        attention.local.weight.zero_()
        attention.local.bias.zero_()
    assert_equals_masked_softmax(attention, same_group(grid, step))


@GRIDS
@pytest.mark.parametrize("step", [2, 3])
def test_the_card_names_the_group_and_the_neighbours(grid, step):
    (row_t, column_t), (row_s, column_s) = places(grid)
    near = (abs(row_t - row_s) < 2) & (abs(column_t - column_s) < 2)
    attention = build_sparse("grouping", grid=grid, step=step)
    assert_card_says(attention, same_group(grid, step) | near)


@torch.no_grad()
def test_the_local_term_is_a_convolution_of_the_values():
    grid = (4, 5)
    attention, plain = (build_sparse("grouping", grid=grid, step=2) for _ in range(2))
    plain.local.weight.zero_()
    plain.local.bias.zero_()
    x = draw(BATCH, 20, DIM)
    v = attention.value(x).unflatten(1, grid)
    local, kernel = torch.zeros_like(v) + attention.local.bias, attention.local.weight[:, 0]
    for row, column in np.ndindex(grid):
        for down, right in np.ndindex(3, 3):
            r, c = row + down - 1, column + right - 1
            if 0 <= r < grid[0] and 0 <= c < grid[1]:
                local[:, row, column] += kernel[:, down, right] * v[:, r, c]
    expected = plain(x) + attention.output(local.flatten(1, 2))
    assert relative_difference(attention(x), expected) <= 1e-12
