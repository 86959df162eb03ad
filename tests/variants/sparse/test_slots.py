"""Slots against the paper's equations, slot by slot and token by token."""

import pytest
import torch
from sparse_oracles import BATCH, build_sparse, random_padding
from support import DIM, HEAD_WIDTH, HEADS, draw, relative_difference


def cell_of(side, cells):
    """The tokens of each cell along one side, which overlap as adaptive pooling has them."""
    cells = min(cells, side)
    return [range(c * side // cells, -(-(c + 1) * side // cells)) for c in range(cells)]


def written_out(attention, x, kept):
    """One row (N, D) of which the tokens `kept` are there."""
    (rows, columns), unit = attention.grid, lambda a: a / a.norm()
    inside = []
    for down in cell_of(rows, attention.config.cells):
        for right in cell_of(columns, attention.config.cells):
            places = [r * columns + c for r in down for c in right if kept[r * columns + c]]
            inside += [places] if places else []
    first = [x[places].mean(dim=0) for places in inside]
    tokens = [t for t in range(len(x)) if kept[t]]
    logits = torch.stack(
        [torch.stack([attention.scale * unit(p) @ unit(x[t]) for t in tokens]) for p in first]
    )
    slots = torch.stack([row.softmax(dim=0) @ x[tokens] for row in logits])
    q, k, v = (part(slots) for part in (attention.query, attention.key, attention.value))
    mixed = torch.zeros_like(slots)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        mixed[:, cut] = (q[:, cut] @ k[:, cut].T / HEAD_WIDTH**0.5).softmax(dim=1) @ v[:, cut]
    values, reach = attention.value(x), attention.config.kernel // 2
    out = torch.zeros_like(x)
    for number, t in enumerate(tokens):
        near = attention.local.bias.clone()
        for s in tokens:
            down, right = s // columns - t // columns, s % columns - t % columns
            if max(abs(down), abs(right)) <= reach:
                near += attention.local.weight[:, 0, down + reach, right + reach] * values[s]
        out[t] = attention.output(logits[:, number].softmax(dim=0) @ mixed + near)
    return out


@torch.no_grad()
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 6), (4, 3)])
@pytest.mark.parametrize("options", [{}, {"cells": 2, "kernel": 3}])
def test_slots_are_the_papers_equations(grid, options):
    attention = build_sparse("slots", grid=grid, **options)
    length = grid[0] * grid[1]
    x, padding = draw(BATCH, length, DIM), random_padding(length)
    everything = torch.ones(length, dtype=torch.bool)
    expected = torch.stack([written_out(attention, row, everything) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-11
    got = attention(x, key_padding_mask=padding)
    for row in range(BATCH):
        kept = ~padding[row]
        if kept.any():
            hidden = x[row].masked_fill(~kept[:, None], 0.0)
            expected = written_out(attention, hidden, kept)
            assert relative_difference(got[row, kept], expected[kept]) <= 1e-11
