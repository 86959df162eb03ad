"""The second differential attention subtracts what two queries read from the same keys."""

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, context_for, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


@PATTERNS
def test_it_is_the_formula_of_the_report(pattern):
    attention = build("diff-v2", pattern)

    def expected(x, source, padding):
        q = split(x @ attention.query.weight.T, 2 * HEADS)
        k, v = (split(source @ part.weight.T, HEADS) for part in (attention.key, attention.value))
        first, second = (
            read_by_loops(
                lambda b, h, t, s, which=which: (
                    q[b, 2 * h + which, t] @ k[b, h, s] / HEAD_WIDTH**0.5
                ),
                v,
                x.shape[1],
                causal=pattern == "cs",
                padding=padding,
            )
            for which in (0, 1)
        )
        factor = (x @ attention.factor.weight.T).sigmoid().transpose(1, 2)[..., None]
        return merge(first - factor * second) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


@PATTERNS
def test_two_equal_queries_leave_half_of_softmax_where_the_factor_is_one_half(pattern):
    attention, softmax = build("diff-v2", pattern), build("softmax", pattern)
    with torch.no_grad():
        rows = attention.query.weight.unflatten(0, (HEADS, 2, HEAD_WIDTH))
        rows[:, 1] = rows[:, 0]
        attention.factor.weight.zero_()
        state = attention.state_dict()
        state["query.weight"] = rows[:, 0].flatten(0, 1)
        softmax.load_state_dict({k: v for k, v in state.items() if "factor" not in k})
        x, context = draw(BATCH, 17, DIM), context_for(attention, BATCH)
        assert relative_difference(2 * attention(x, context), softmax(x, context)) <= 1e-12
