"""Multi-query attention is softmax attention whose heads have the same keys and values."""

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


def softmax_with_repeated_heads(attention):
    softmax, state = build("softmax", attention.pattern), attention.state_dict()
    for name in ("key.weight", "value.weight"):
        state[name] = state[name].repeat(HEADS, 1)
    softmax.load_state_dict(state)
    return softmax


@pytest.mark.parametrize("length", [1, 7, 17])
@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_it_is_softmax_attention_with_the_one_head_of_keys_and_values_repeated(pattern, length):
    attention = build("mqa", pattern)
    softmax = softmax_with_repeated_heads(attention)
    x, context = draw(BATCH, length, DIM), context_for(attention, BATCH)
    keys = length if context is None else CONTEXT
    for padding in (None, right_padding([keys, -(-keys // 2), 1, 1], keys)):
        got, expected = (one(x, context, key_padding_mask=padding) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


def test_gradients_of_the_shared_heads_are_the_sums_over_the_repeated_ones():
    attention = build("mqa", "cs")
    softmax, x = softmax_with_repeated_heads(attention), draw(2, 9, DIM)
    for one in (attention, softmax):
        one(x).square().sum().backward()
    for name in ("key", "value"):
        shared = getattr(attention, name).weight.grad
        repeated = getattr(softmax, name).weight.grad.unflatten(0, (HEADS, -1)).sum(dim=0)
        torch.testing.assert_close(shared, repeated)


def test_the_decode_state_is_one_head_of_keys_and_values():
    attention = build("mqa", "cs")
    state, x = attention.initial_state(BATCH), draw(BATCH, 7, DIM)
    for t in range(7):
        _, state = attention.step(x[:, t], state)
    assert state.k.shape == state.v.shape == (BATCH, 1, 7, DIM // HEADS)
