"""Dual cross attention pools the context, refines the pooled tokens, and reads both."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEAD_WIDTH,
    HEADS,
    build,
    draw,
    relative_difference,
    right_padding,
)

PATTERNS = pytest.mark.parametrize("pattern", ["nc", "cc"])


def attend(attention, a, b):
    """A(a, b) for one row, before the output projection: a (N, D), b (M, D)."""
    q, k, v = attention.query(a), attention.key(b), attention.value(b)
    out = torch.zeros_like(q)
    for t in range(len(a)):
        for head in range(HEADS):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            weights = (k[:, cut] @ q[t, cut] / HEAD_WIDTH**0.5).softmax(dim=0)
            out[t, cut] = weights @ v[:, cut]
    return out


def by_loops(attention, x, z):
    """The docstring's equations for one row."""
    count, length = min(attention.config.pooled, len(z)), len(z)
    runs = [[s for s in range(length) if s * count // length == c] for c in range(count)]
    pooled = torch.stack([z[run].mean(dim=0) for run in runs])
    of_context, of_stream = attention.gates.tanh()
    pooled = pooled + of_context * attention.output(attend(attention, pooled, z))
    return attention.output(attend(attention, x, pooled) + of_stream * attend(attention, x, z))


@PATTERNS
@pytest.mark.parametrize("pooled", [1, 4, 40])
@torch.no_grad()
def test_it_is_the_equations_in_loops(pattern, pooled):
    attention = build("dual-cross", pattern, pooled=pooled)
    attention.gates.copy_(torch.tensor([0.4, -0.9]))
    x, z = draw(BATCH, 9, DIM), draw(BATCH, CONTEXT, DIM)
    lengths = [CONTEXT, 13, 5, 1]
    out = attention(x, z, key_padding_mask=right_padding(lengths, CONTEXT))
    for row, length in enumerate(lengths):
        expected = by_loops(attention, x[row], z[row, :length])
        assert relative_difference(out[row], expected) <= 1e-12


@PATTERNS
@torch.no_grad()
def test_closed_gates_leave_attention_to_the_pooled_tokens(pattern):
    attention, softmax = build("dual-cross", pattern, pooled=5), build("softmax", pattern)
    attention.gates.zero_()
    state = attention.state_dict()
    state.pop("gates")
    softmax.load_state_dict(state)
    x, z = draw(BATCH, 9, DIM), draw(BATCH, 15, DIM)
    pooled = z.unflatten(1, (5, 3)).mean(dim=2)
    assert relative_difference(attention(x, z), softmax(x, pooled)) <= 1e-12


@PATTERNS
def test_gates_start_at_one_half(pattern):
    gates = build("dual-cross", pattern).gates
    torch.testing.assert_close(gates.tanh(), torch.full_like(gates, 0.5), rtol=0, atol=1e-7)
