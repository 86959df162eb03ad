"""TempScale is softmax attention with its scores divided once more."""

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


def difference(attention, other, length=17):
    x, context = draw(BATCH, length, DIM), context_for(attention, BATCH)
    keys = length if context is None else CONTEXT
    padding = right_padding([keys, 8, 1, 3], keys)
    got, expected = (one(x, context, key_padding_mask=padding) for one in (attention, other))
    return relative_difference(got, expected)


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_temperature_one_is_softmax(pattern):
    attention, softmax = build("tempscale", pattern, temperature=1.0), build("softmax", pattern)
    softmax.load_state_dict(attention.state_dict())
    assert difference(attention, softmax) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
@pytest.mark.parametrize("temperature", [0.25, 0.8, 3.0])
def test_a_temperature_is_a_scale_of_the_queries(pattern, temperature):
    attention = build("tempscale", pattern, temperature=temperature)
    softmax, state = build("softmax", pattern), attention.state_dict()
    state["query.weight"] = state["query.weight"] / temperature
    softmax.load_state_dict(state)
    assert difference(attention, softmax) <= 1e-12


def test_near_zero_the_best_key_is_all_that_is_read():
    attention, x = build("tempscale", "ns", temperature=1e-9), draw(2, 9, DIM)
    q, k, v = (
        attention.split_heads(read(x))
        for read in (attention.query, attention.key, attention.value)
    )
    best = (q @ k.mT).argmax(dim=-1)
    expected = torch.take_along_dim(v, best[..., None], dim=2)
    expected = attention.output(attention.merge_heads(expected))
    assert relative_difference(attention(x), expected) <= 1e-12


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature):
    with pytest.raises(Exception, match="temperature must be above 0"):
        build("tempscale", "ns", temperature=temperature)
