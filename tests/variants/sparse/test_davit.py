"""Dual attention is softmax within windows, whose outputs are mixed between channels."""

import pytest
import torch
from sparse_oracles import build_sparse, masked_softmax, places, random_padding
from support import DIM, draw, relative_difference
from torch import nn


def expected_output(attention, x, window, padding):
    """The two stages by loops over pictures, heads and channels."""
    (row_t, column_t), (row_s, column_s) = places(attention.grid)
    same = (row_t // window == row_s // window) & (column_t // window == column_s // window)
    x = x.masked_fill(padding[:, :, None], 0.0)
    output, attention.output = attention.output, nn.Linear(DIM, DIM, bias=False).double()
    nn.init.eye_(attention.output.weight)
    inside = masked_softmax(attention, x, same, padding=padding)
    attention.output = output
    q, k, out = attention.query(x), attention.key(x), torch.empty_like(x)
    width = attention.head_width
    for row in range(x.shape[0]):
        for first in range(0, DIM, width):
            for i in range(first, first + width):
                scores = [q[row, :, i] @ k[row, :, j] for j in range(first, first + width)]
                weights = torch.stack(scores).div(width**0.5).softmax(dim=0)
                out[row, :, i] = inside[row, :, first : first + width] @ weights
    return attention.output(out)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 7), (6, 4)])
@pytest.mark.parametrize("window", [1, 3, 8])
def test_windows_are_mixed_first_and_channels_after(grid, window):
    attention, length = build_sparse("davit", grid=grid, window=window), grid[0] * grid[1]
    x = draw(3, length, DIM)
    for padding in (torch.zeros(3, length, dtype=torch.bool), random_padding(length)):
        expected = expected_output(attention, x, window, padding)
        hollow = x.masked_fill(padding[:, :, None], float("nan"))
        out = attention(hollow, key_padding_mask=padding)
        assert out.isfinite().all()
        difference = (out - expected).masked_fill(padding[:, :, None], 0.0)
        assert difference.abs().max() <= 1e-12


def test_every_output_depends_on_every_token():
    attention = build_sparse("davit", grid=(4, 6), window=2)
    moved = torch.autograd.functional.jacobian(lambda x: attention(x[None])[0], draw(24, DIM))
    assert (moved.abs().amax(dim=(1, 3)) > 0).all()


def test_windows_of_one_token_leave_attention_between_channels_alone():
    attention, x = build_sparse("davit", grid=(3, 5), window=1), draw(2, 15, DIM)
    projections = attention.query, attention.key, attention.value
    q, k, v = (attention.split_heads(project(x)) for project in projections)
    weights = (torch.einsum("bhsi,bhsj->bhij", q, k) / attention.head_width**0.5).softmax(dim=-1)
    mixed = torch.einsum("bhij,bhtj->bhti", weights, v)
    expected = attention.output(attention.merge_heads(mixed))
    assert relative_difference(attention(x), expected) <= 1e-12
