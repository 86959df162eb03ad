"""Approximate attention is the Taylor series of softmax's weights, normalised."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEAD_WIDTH,
    HEADS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def by_loops(attention, x, z):
    """The docstring's equation for one row: x (N, D), z (M, D)."""
    q, k, v = attention.query(x), attention.key(z), attention.value(z)
    out = torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        for t in range(len(x)):
            seen = t + 1 if attention.pattern == "cs" else len(z)
            u = k[:seen, cut] @ q[t, cut] / HEAD_WIDTH**0.5
            weights = 1 + u + u**2 / 2
            out[t, cut] = weights @ v[:seen, cut] / weights.sum()
    return attention.output(out)


@PATTERNS
@pytest.mark.parametrize("chunk", [1, 4, 64])
@torch.no_grad()
def test_it_is_the_series_in_loops(pattern, chunk):
    attention = build("approximate", pattern, chunk=chunk)
    x, context = draw(BATCH, 9, DIM), context_for(attention, BATCH)
    keys = 9 if context is None else CONTEXT
    lengths = [keys, 7, 2, 1]
    out = attention(x, context, key_padding_mask=right_padding(lengths, keys))
    for row, length in enumerate(lengths):
        queries = x[row] if context is not None else x[row, :length]
        source = queries if context is None else context[row, :length]
        expected = by_loops(attention, queries, source)
        assert relative_difference(out[row, : len(queries)], expected) <= 1e-12


@PATTERNS
@torch.no_grad()
def test_for_small_scores_it_nears_softmax_by_the_third_power(pattern):
    attention, softmax = build("approximate", pattern), build("softmax", pattern)
    x, context = draw(2, 9, DIM), context_for(attention, 2)
    errors = []
    for scale in (0.2, 0.1):
        for name in ("query", "key"):
            weight = getattr(attention, name).weight
            weight.copy_(scale**0.5 * draw(*weight.shape, seed=name) / DIM**0.5)
        softmax.load_state_dict(attention.state_dict())
        errors.append((attention(x, context) - softmax(x, context)).abs().max().item())
    assert 6 < errors[0] / errors[1] < 10
