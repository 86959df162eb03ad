"""Optimised attention is softmax attention with the identity as its value projection."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_it_is_softmax_attention_that_does_not_project_its_values(pattern):
    attention, softmax = build("optimised", pattern), build("softmax", pattern)
    softmax.load_state_dict(
        {**attention.state_dict(), "value.weight": torch.eye(DIM, dtype=torch.float64)}
    )
    x, context = draw(BATCH, 17, DIM), context_for(attention, BATCH)
    keys = 17 if context is None else CONTEXT
    for padding in (None, right_padding([keys, 8, 1, 3], keys)):
        got, expected = (one(x, context, key_padding_mask=padding) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


def test_any_value_projection_can_be_moved_into_the_output_projection_of_one_head():
    optimised, softmax = (build(name, "cs", heads=1, dim=6) for name in ("optimised", "softmax"))
    state = softmax.state_dict()
    state["output.weight"] = state["output.weight"] @ state.pop("value.weight")
    optimised.load_state_dict(state)
    x = draw(2, 9, 6)
    assert relative_difference(optimised(x), softmax(x)) <= 1e-12


def test_it_has_three_quarters_of_the_parameters():
    own, full = (
        sum(p.numel() for p in build(name, "ns").parameters()) for name in ("optimised", "softmax")
    )
    assert own * 4 == full * 3
