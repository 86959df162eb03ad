"""Gated attention multiplies what softmax attention reads by a sigmoid of the asking token."""

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, context_for, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


@PATTERNS
@pytest.mark.parametrize("per_channel", [True, False])
def test_it_is_the_formula_of_the_paper(pattern, per_channel):
    attention = build("gated", pattern, per_channel=per_channel)
    assert attention.gate.weight.shape == (DIM if per_channel else HEADS, DIM)

    def expected(x, source, padding):
        q, k, v = (
            split(z @ part.weight.T, HEADS)
            for part, z in (
                (attention.query, x),
                (attention.key, source),
                (attention.value, source),
            )
        )
        read = read_by_loops(
            lambda b, h, t, s: q[b, h, t] @ k[b, h, s] / HEAD_WIDTH**0.5,
            v,
            x.shape[1],
            causal=pattern == "cs",
            padding=padding,
        )
        gates = 1 / (1 + torch.exp(-x @ attention.gate.weight.T))
        if not per_channel:
            gates = gates.repeat_interleave(HEAD_WIDTH, dim=-1)
        return (gates * merge(read)) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


@PATTERNS
def test_gates_that_are_all_one_half_halve_softmax(pattern):
    attention, softmax = build("gated", pattern), build("softmax", pattern)
    softmax.load_state_dict(
        {name: value for name, value in attention.state_dict().items() if "gate" not in name}
    )
    attention.gate.weight.data.zero_()
    x, context = draw(BATCH, 17, DIM), context_for(attention, BATCH)
    assert relative_difference(2 * attention(x, context), softmax(x, context)) <= 1e-12
