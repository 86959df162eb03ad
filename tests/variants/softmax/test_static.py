"""Static attention mixes by a map of positions, whatever the tokens say."""

import pytest
import torch
from support import BATCH, DIM, build, draw, relative_difference, right_padding

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


@PATTERNS
@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_weights_are_those_of_softmax_attention_on_the_random_vectors(pattern, length):
    attention, softmax = build("static", pattern), build("softmax", pattern)
    state = attention.state_dict()
    places = state.pop("places")[None, :length]
    softmax.load_state_dict(state)
    x = draw(BATCH, length, DIM)
    q, k = (softmax.split_heads(read(places)) for read in (softmax.query, softmax.key))
    v = softmax.split_heads(softmax.value(x))
    for padding in (None, right_padding([length, -(-length // 2), 1, 1], length)):
        mixed = softmax.attend(q.expand_as(v), k.expand_as(v), v, key_padding_mask=padding)
        expected = softmax.output(softmax.merge_heads(mixed))
        got = attention(x, key_padding_mask=padding)
        seen = torch.ones(BATCH, length) > 0 if padding is None else ~padding
        assert relative_difference(got[seen], expected[seen]) <= 1e-12


@PATTERNS
def test_it_is_linear_in_its_input(pattern):
    attention, x, y = build("static", pattern), draw(2, 17, DIM), draw(2, 17, DIM, seed="other")
    together = attention(2 * x - 3 * y)
    assert relative_difference(together, 2 * attention(x) - 3 * attention(y)) <= 1e-12


def test_it_steps_from_values_alone():
    attention, x = build("static", "cs"), draw(BATCH, 9, DIM)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    assert [part.numel() for part in state] == [BATCH * 9 * DIM]
