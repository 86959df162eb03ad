"""Neighbourhood attention against loops over pairs of tokens in float64, and every gradient."""

import pytest
import torch
from interpreted import DEVICE, DTYPES, LIMITS, assert_close, both, draw, load_kernels

from cab.kernels.neighborhood.chunked import neighborhood_attention
from cab.kernels.neighborhood.reference import seen_pairs, visible

kernels = load_kernels("neighborhood")
pytestmark = pytest.mark.usefixtures("interpreter")

K, V = 5, 7
SMALL = kernels.Tile(4, 4)
"""Small tiles cut even a small picture into whole, cut and skipped ones."""


def places_of_window(t, length, side, dilation):
    """The definition on one axis, place by place."""
    lattice = list(range(t % dilation, length, dilation))
    first = max(0, min(lattice.index(t) - side // 2, len(lattice) - side))
    return lattice[first : first + side]


def pairs_seen(grid, side, dilation):
    height, width = grid
    seen = torch.zeros(height * width, height * width, dtype=torch.bool)
    for t in range(height * width):
        for row in places_of_window(t // width, height, side, dilation):
            for column in places_of_window(t % width, width, side, dilation):
                seen[t, row * width + column] = True
    return seen


def oracle(grid, side, dilation):
    seen = pairs_seen(grid, side, dilation)

    def attend(q, k, v):
        scores = (q @ k.mT / K**0.5).masked_fill(~seen, -torch.inf)
        return scores.softmax(dim=-1) @ v

    return attend


def inputs(grid, *, batch=1, heads=1, dtype=torch.float32):
    tokens = grid[0] * grid[1]
    widths = enumerate((K, K, V))
    return [draw(batch, heads, tokens, width, seed=seed, dtype=dtype) for seed, width in widths]


PICTURES = [
    ((5, 7), 3, 1),  # tiles that end beyond the picture, windows pushed inward on all sides
    ((9, 6), 4, 1),  # an even window
    ((7, 9), 3, 2),  # lattices of different sizes
    ((3, 8), 5, 3),  # a window larger than the lattice
    ((1, 37), 5, 1),  # a sequence
    ((1, 23), 3, 4),  # with steps, of which the one row takes none
    ((6, 1), 1, 1),  # each token sees itself
]


@pytest.mark.parametrize(("grid", "side", "dilation"), PICTURES, ids=str)
def test_masks_and_counts_equal_the_definition_place_by_place(grid, side, dilation):
    expected = pairs_seen(grid, side, dilation)
    mine = visible(torch.arange(grid[0] * grid[1]), grid, side, dilation)
    assert torch.equal(mine, expected)
    assert seen_pairs(grid, side, dilation) == int(expected.sum())


@pytest.mark.parametrize(("grid", "side", "dilation"), PICTURES, ids=str)
def test_gathered_keys_equal_the_definition(grid, side, dilation):
    tensors = [x.double().requires_grad_() for x in inputs(grid, batch=2, heads=3)]
    out = neighborhood_attention(*tensors, grid=grid, side=side, dilation=dilation)
    expected = oracle(grid, side, dilation)(*tensors)
    torch.testing.assert_close(out, expected)
    above = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).double()
    mine, true = (torch.autograd.grad(x, tensors, above) for x in (out, expected))
    torch.testing.assert_close(mine, true)


@pytest.mark.parametrize(("grid", "side", "dilation"), PICTURES, ids=str)
def test_tiles_equal_the_definition(grid, side, dilation):
    pairs = both(
        lambda q, k, v: kernels.triton_neighborhood(
            q, k, v, grid=grid, side=side, dilation=dilation, tile=SMALL
        ),
        oracle(grid, side, dilation),
        inputs(grid),
    )
    assert_close(pairs, LIMITS[torch.float32])


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_the_committed_tiles_rows_and_heads_keep_apart_in_half_precision(dtype):
    grid = (5, 7)
    tensors = inputs(grid, batch=2, heads=3, dtype=dtype)
    tensors[0] = tensors[0].transpose(1, 2).contiguous().transpose(1, 2)
    pairs = both(
        lambda q, k, v: kernels.triton_neighborhood(q, k, v, grid=grid, side=3),
        oracle(grid, 3, 1),
        tensors,
    )
    assert_close(pairs, LIMITS[dtype])


def test_a_token_out_of_reach_changes_nothing():
    grid = (6, 7)
    q, k, v = (x.to(DEVICE) for x in inputs(grid))
    before = kernels.triton_neighborhood(q, k, v, grid=grid, side=3, tile=SMALL)
    k[:, :, -1] = v[:, :, -1] = 100.0
    after = kernels.triton_neighborhood(q, k, v, grid=grid, side=3, tile=SMALL)
    sees_the_last = pairs_seen(grid, 3, 1)[:, -1]
    assert sees_the_last.sum() == 4  # the windows at the border are pushed inward
    changed = (before != after).any(dim=-1).flatten().cpu()
    assert torch.equal(changed, sees_the_last)


def test_tiles_are_as_square_as_the_picture_allows():
    def tile(grid, dtype=torch.float16, step=1):
        return kernels.tile_for(kernels.Picture(*grid, 7, min(step, grid[0]), step), dtype)

    assert tile((56, 56)) == (8, 8)
    assert tile((56, 56), torch.float32) == (4, 8)
    assert tile((1, 4096)) == (1, 64)
    assert tile((9, 90), step=3) == (4, 16)


def test_what_is_no_picture_is_refused_in_a_sentence():
    q, k, v = (x.to(DEVICE) for x in inputs((2, 3)))
    with pytest.raises(ValueError, match="2 x 2 has not 6 queries"):
        kernels.triton_neighborhood(q, k, v, grid=(2, 2), side=3)
    with pytest.raises(ValueError, match="at least 1"):
        kernels.triton_neighborhood(q, k, v, grid=(2, 3), side=0)
    with pytest.raises(ValueError, match="the widest is 128"):
        kernels.triton_neighborhood(
            *(x.repeat(1, 1, 1, 30) for x in (q, k, v)), grid=(2, 3), side=3
        )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("side", [2, 3, 7, 12])
@pytest.mark.parametrize("grid", [(5, 9), (8, 7), (13, 3)], ids=str)
def test_all_borders_of_a_picture(grid, side, dilation, dtype):
    pairs = both(
        lambda q, k, v: kernels.triton_neighborhood(
            q, k, v, grid=grid, side=side, dilation=dilation, tile=SMALL
        ),
        oracle(grid, side, dilation),
        inputs(grid, dtype=dtype),
    )
    assert_close(pairs, LIMITS[dtype])
