"""Composite attention equals self attention on [context; stream], read at the stream."""

import pytest
import torch
from support import BATCH, CONTEXT, DIM, build, draw, relative_difference, right_padding


def twins():
    attention, softmax = build("parallel-cross", "cc"), build("softmax", "cs")
    softmax.load_state_dict(attention.state_dict())
    return attention, softmax


@pytest.mark.parametrize("length", [1, 2, 9])
@torch.no_grad()
def test_it_is_causal_attention_behind_the_context(length):
    attention, softmax = twins()
    x, z = draw(BATCH, length, DIM), draw(BATCH, CONTEXT, DIM)
    lengths = [CONTEXT, 13, 2, 0]
    out = attention(x, z, key_padding_mask=right_padding(lengths, CONTEXT))
    for row, kept in enumerate(lengths):
        both = torch.cat((z[row : row + 1, :kept], x[row : row + 1]), dim=1)
        assert relative_difference(out[row], softmax(both)[0, kept:]) <= 1e-12


@torch.no_grad()
def test_tokens_of_the_context_do_not_read_each_other():
    attention, _ = twins()
    z = draw(1, CONTEXT, DIM)
    one = attention.initial_state(1, z)
    changed = z.clone()
    changed[:, 4] += 1
    other = attention.initial_state(1, changed)
    moved = (one.k - other.k).abs().amax(dim=(0, 1, 3)) > 0
    assert moved.nonzero().flatten().tolist() == [4]


@torch.no_grad()
def test_the_state_grows_with_the_stream():
    attention, _ = twins()
    x, z = draw(2, 7, DIM), draw(2, CONTEXT, DIM)
    state, expected = attention.initial_state(2, z), attention(x, z)
    for t in range(7):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    assert state.k.shape[2] == CONTEXT + 7
