"""InLine attention against its weights over all pairs and its neighbours, one by one."""

import pytest
import torch
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, VARIANTS, build, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern


def written_out(attention, x, columns, reach):
    """One row (N, D): weights (q_t . (k_s - mean) / sqrt(E) + 1) / N, and near values."""
    length, out = len(x), torch.zeros_like(x)
    q, k, v = (
        part(x).view(length, HEADS, -1)
        for part in (attention.query, attention.key, attention.value)
    )
    local = attention.local_weights(x.mean(dim=0)[:, None]).view(HEADS, 2 * reach[0] + 1, -1)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scores = q[:, head] @ (k[:, head] - k[:, head].mean(dim=0)).T / HEAD_WIDTH**0.5
        weights = (scores + 1) / length
        torch.testing.assert_close(weights.sum(dim=1), weights.new_ones(length))
        out[:, cut] = weights @ v[:, head]
        for t in range(length):
            row, column = divmod(t, columns)
            for s in range(length):
                down, right = s // columns - row, s % columns - column
                if abs(down) <= reach[0] and abs(right) <= reach[1]:
                    weight = local[head, down + reach[0], right + reach[1]]
                    out[t, cut] += weight * v[s, head]
    return attention.output(out)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 17])
def test_a_sequence_is_mixed_as_written(length):
    attention, x = build("inline", "ns"), draw(BATCH, length, DIM)
    expected = torch.stack([written_out(attention, row, length, (0, 1)) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-12


@torch.no_grad()
@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (5, 3)])
def test_a_picture_has_neighbours_in_two_dimensions(grid):
    length = grid[0] * grid[1]
    attention = build_attention(
        VARIANTS.load("inline"),
        {},
        dim=DIM,
        heads=HEADS,
        pattern=Pattern.NS,
        max_length=length,
        grid=grid,
    )
    attention, x = attention.double().eval(), draw(BATCH, length, DIM)
    expected = torch.stack([written_out(attention, row, grid[1], (1, 1)) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-12


def test_queries_that_differ_in_length_alone_weigh_differently():
    # Division by the sum makes linear attention's weights the same for both.
    attention, x = build("inline", "ns"), draw(1, 17, DIM)
    outputs = []
    for scale in (1, 2):
        with torch.no_grad():
            attention.query.weight.mul_(scale)
        outputs.append(attention(x))
    assert (outputs[0] - outputs[1]).abs().amax(dim=2).min() > 1e-3


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("inline", "ns", dtype)
