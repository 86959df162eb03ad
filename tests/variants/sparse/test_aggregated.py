"""Aggregated attention is the paper's formula, token by token."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sparse_oracles import build_sparse
from support import BATCH, DIM, HEADS, draw, relative_difference


def cells_of(side, cells):
    """Which places of an axis each pooled cell takes the mean of."""
    cells = min(cells, side)
    return [range(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]


def by_loops(attention, x, absent):
    """One softmax per token over its window and the pooled picture, plus the learned weights."""
    rows, columns = attention.grid
    config, beside = attention.config, attention.config.window // 2
    activated = F.gelu(attention.pooled(x)).unflatten(1, attention.grid)
    cells = []
    for down in cells_of(rows, config.cells):
        for right in cells_of(columns, config.cells):
            inside = [(r, c) for r in down for c in right if not absent[r * columns + c]]
            if inside:
                cells.append(torch.stack([activated[:, r, c] for r, c in inside]).mean(dim=0))
    means = torch.stack(cells, dim=1)
    deviation = (means.var(dim=-1, correction=0, keepdim=True) + 1e-5).sqrt()
    summary = (means - means.mean(dim=-1, keepdim=True)) / deviation
    q, k, v = (
        attention.split_heads(read(x))
        for read in (attention.query, attention.key, attention.value)
    )
    far_k, far_v = (
        attention.split_heads(read(summary)) for read in (attention.key, attention.value)
    )
    q, k, far_k = (part / part.norm(dim=-1, keepdim=True) for part in (q, k, far_k))
    out = torch.zeros_like(v)
    for row, head, t in np.ndindex(BATCH, HEADS, rows * columns):
        window = {}
        for place, (down, right) in enumerate(np.ndindex(config.window, config.window)):
            r, c = t // columns + down - beside, t % columns + right - beside
            if 0 <= r < rows and 0 <= c < columns and not absent[r * columns + c]:
                window[place] = r * columns + c
        near, places = list(window.values()), list(window)
        scale = F.softplus(attention.temperature[0, head]) * math.log(len(near) + len(cells))
        asking = (q[row, head, t] + attention.embedding[0, head, 0]) * scale[0]
        keys = torch.cat((k[row, head, near], far_k[row, head]))
        weights = (keys @ asking).softmax(dim=0)
        learned = q[row, head, t] @ attention.tokens[head] + attention.bias[0, head, 0]
        local = weights[: len(near)] + learned[places]
        out[row, head, t] = local @ v[row, head, near] + weights[len(near) :] @ far_v[row, head]
    return attention.output(attention.merge_heads(out))


@pytest.mark.parametrize("grid", [(3, 5), (6, 4), (1, 7), (1, 1)])
@pytest.mark.parametrize(("window", "cells"), [(3, 2), (1, 4), (5, 1)])
def test_it_is_the_formula_of_the_paper(grid, window, cells):
    attention = build_sparse("aggregated", grid=grid, window=window, cells=cells)
    torch.nn.init.normal_(attention.bias)
    x, absent = draw(BATCH, grid[0] * grid[1], DIM), np.zeros(grid[0] * grid[1], bool)
    with torch.no_grad():
        expected = by_loops(attention, x, absent)
        assert relative_difference(attention(x), expected) <= 1e-12


def test_padding_is_left_out_of_windows_means_and_counts():
    attention = build_sparse("aggregated", grid=(4, 5), window=3, cells=2)
    x, absent = draw(BATCH, 20, DIM), np.zeros(20, bool)
    absent[[0, 1, 5, 6, 13, 19]] = True  # one pooled cell loses most of its tokens
    mask = torch.from_numpy(absent).expand(BATCH, -1)
    with torch.no_grad():
        expected = by_loops(attention, x, absent)
        out = attention(x.masked_fill(mask[..., None], float("nan")), key_padding_mask=mask)
    assert relative_difference(out[:, ~absent], expected[:, ~absent]) <= 1e-12


def test_the_temperature_begins_where_the_paper_s_does():
    attention = build_sparse("aggregated", grid=(2, 2))
    expected = torch.full_like(attention.temperature, 1 / 0.24)
    torch.testing.assert_close(F.softplus(attention.temperature), expected)
