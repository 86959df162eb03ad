"""Efficient attention of Hosseini is softmax attention that projects its queries alone."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEADS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)

IDENTITY = torch.eye(DIM, dtype=torch.float64)


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_it_is_softmax_attention_with_identities_for_keys_and_values(pattern):
    attention, softmax = build("efficient-kq", pattern), build("softmax", pattern)
    identities = {"key.weight": IDENTITY, "value.weight": IDENTITY}
    softmax.load_state_dict({**attention.state_dict(), **identities})
    x, context = draw(BATCH, 17, DIM), context_for(attention, BATCH)
    keys = 17 if context is None else CONTEXT
    for padding in (None, right_padding([keys, 8, 1, 3], keys)):
        got, expected = (one(x, context, key_padding_mask=padding) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


@pytest.mark.parametrize("pattern", ["cs", "cc"])
def test_it_steps_from_one_vector_for_each_token(pattern):
    attention = build("efficient-kq", pattern)
    x, context = draw(BATCH, 9, DIM), context_for(attention, BATCH)
    keys = 9 if context is None else CONTEXT
    padding = None if context is None else right_padding([keys, 8, 1, 3], keys)
    expected = attention(x, context, key_padding_mask=padding)
    state = attention.initial_state(BATCH, context, key_padding_mask=padding)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    assert state.tokens.shape == (BATCH, HEADS, keys, DIM // HEADS)
