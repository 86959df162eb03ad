"""BiFormer's attention reads the chosen regions' tokens, and with all regions is softmax."""

import copy

import numpy as np
import pytest
import torch
from sparse_oracles import BATCH, build_sparse, masked_softmax
from support import DIM, HEADS, draw, relative_difference

GRIDS = pytest.mark.parametrize("grid", [(3, 5), (8, 8), (5, 2), (1, 7), (1, 1)])


def region_of(grid, regions):
    """The region of each token, numbered."""
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    height, width = (-(-side // regions) for side in grid)
    return row // height * regions + column // width


def visible_by_sorting(attention, x):
    region = region_of(attention.grid, attention.config.regions)
    q, k = (read(x).detach().numpy() for read in (attention.query, attention.key))
    visible = np.zeros((BATCH, 1, x.shape[1], x.shape[1]), bool)
    names = np.unique(region)
    for row in range(BATCH):
        means = [{a: part[row, region == a].mean(axis=0) for a in names} for part in (q, k)]
        for a in names:
            best = sorted(names, key=lambda b: -(means[0][a] @ means[1][b]))
            for b in best[: attention.config.top_k]:
                visible[row, 0] |= (region[:, None] == a) & (region == b)
    return np.broadcast_to(visible, (BATCH, HEADS, *visible.shape[2:]))


def scaled_by_width(attention):
    """The same attention with queries that make softmax(q k / sqrt(E)) divide by sqrt(d)."""
    twin = copy.deepcopy(attention)
    with torch.no_grad():
        twin.query.weight.mul_(1 / HEADS**0.5)
    return twin


@GRIDS
@pytest.mark.parametrize(("regions", "top_k"), [(2, 1), (2, 3), (3, 4), (4, 2)])
def test_it_is_softmax_over_the_chosen_regions(grid, regions, top_k):
    attention = build_sparse("bilevel", grid=grid, regions=regions, top_k=top_k, kernel=0)
    x = draw(BATCH, grid[0] * grid[1], DIM)
    visible = visible_by_sorting(attention, x)
    expected = masked_softmax(scaled_by_width(attention), x, visible)
    assert relative_difference(attention(x), expected) <= 1e-12


@GRIDS
def test_with_all_regions_it_is_softmax(grid):
    attention = build_sparse("bilevel", grid=grid, regions=3, top_k=9, kernel=0)
    length = grid[0] * grid[1]
    x, everything = draw(BATCH, length, DIM), np.ones((BATCH, HEADS, length, length), bool)
    expected = masked_softmax(scaled_by_width(attention), x, everything)
    assert relative_difference(attention(x), expected) <= 1e-12


def test_a_side_that_fewer_regions_cover_has_fewer():
    attention = build_sparse("bilevel", grid=(6, 6), regions=4, top_k=9, kernel=0)
    x = draw(BATCH, 36, DIM)  # 3 x 3 regions of 2 x 2 tokens, all of which are read
    expected = masked_softmax(scaled_by_width(attention), x, np.ones((36, 36), bool))
    assert relative_difference(attention(x), expected) <= 1e-12


def test_the_local_term_is_a_convolution_of_the_values():
    grid = (4, 5)
    attention = build_sparse("bilevel", grid=grid, kernel=3)
    plain = build_sparse("bilevel", grid=grid, kernel=0)
    own = {name: p for name, p in attention.state_dict().items() if not name.startswith("local.")}
    plain.load_state_dict(own)
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
