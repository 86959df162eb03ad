"""Pooling against its mean over the tokens that are there."""

import pytest
import torch
from convolution_oracles import build_on_grid
from support import build, draw, relative_difference


def means(x, reach, present, grid):
    """The mean of the present tokens of each window, less the token, one row."""
    out = torch.zeros_like(x)
    columns = grid[1] if grid else len(x)
    for t in range(len(x)):
        window = [
            s
            for s in range(len(x))
            if present[s]
            and abs(t // columns - s // columns) <= reach
            and abs(t % columns - s % columns) <= reach
        ]
        out[t] = x[window].mean(dim=0) - x[t]
    return out


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("grid", [None, (1, 13), (13, 1), (5, 4)])
def test_pooling_is_a_mean_of_what_is_present(reach, grid):
    length = 13 if grid is None else grid[0] * grid[1]
    mixer = build("pool", "ns", reach=reach) if grid is None else build_on_grid(
        "pool", grid, reach=reach
    )  # fmt: skip
    x, padding = draw(2, length, 15), torch.zeros(2, length, dtype=torch.bool)
    padding[1, [0, length // 2, length // 2 + 1]] = True
    got = mixer(x.masked_fill(padding[:, :, None], float("nan")), key_padding_mask=padding)
    for row in range(2):
        kept = ~padding[row]
        expected = means(x[row], reach, kept, grid)
        assert relative_difference(got[row, kept], expected[kept]) <= 1e-12


def test_a_single_token_leaves_nothing():
    assert not build("pool", "ns")(draw(3, 1, 15)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_survives_a_long_sequence(dtype):
    x = draw(1, 65_537, 6, dtype=dtype).requires_grad_()
    build("pool", "ns", dim=6, dtype=dtype)(x).sum().backward()
    assert x.grad.isfinite().all()
