"""Answering token by token gives what the whole sequence gives, from a state of a known size."""

import pytest
import torch
from support import (
    BATCH,
    CAUSAL_PAIRS,
    CONTEXT,
    DIM,
    HEAD_WIDTH,
    HEADS,
    PAIRS,
    VARIANTS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)

from cab.errors import Unsupported

STATES = {
    "2 M E": lambda keys, width, options: 2 * keys * width,
    "2 w E": lambda keys, width, options: 2 * options["window"] * width,
    "E (E + 1)": lambda keys, width, options: width * (width + 1),
    "E + 1/H": lambda keys, width, options: width + 1 / HEADS,
    "0": lambda keys, width, options: 0,
}
"""Elements per head, for the formula of each card; a new formula is added here."""

DECODING = [(name, pattern) for name, pattern in CAUSAL_PAIRS if VARIANTS.card(name).state]
decoding = pytest.mark.parametrize(("name", "pattern"), DECODING)


def tensors(state):
    """Yield the tensors of any nesting of tuples."""
    if isinstance(state, torch.Tensor):
        yield state
    else:
        for part in state:
            yield from tensors(part)


def decode(attention, x, context=None, padding=None):
    state, outputs = attention.initial_state(x.shape[0], context, key_padding_mask=padding), []
    for t in range(x.shape[1]):
        y, state = attention.step(x[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


@pytest.mark.parametrize("length", [1, 2, 17, 65])
@decoding
def test_stepping_equals_the_whole_sequence_at_every_position(name, pattern, length):
    attention = build(name, pattern)
    x, context = draw(BATCH, length, DIM), context_for(attention, BATCH)
    stepped, _ = decode(attention, x, context)
    assert relative_difference(stepped, attention(x, context)) <= 1e-12


@pytest.mark.parametrize(("name", "pattern"), [pair for pair in DECODING if pair[1].cross])
def test_stepping_ignores_a_context_s_padding(name, pattern):
    attention = build(name, pattern)
    padding = right_padding([CONTEXT, 11, 1, 0], CONTEXT)
    x, context = draw(BATCH, 7, DIM), context_for(attention, BATCH)
    context = context.masked_fill(padding[:, :, None], float("nan"))
    stepped, state = decode(attention, x, context, padding)
    expected = attention(x, context, key_padding_mask=padding)
    assert relative_difference(stepped, expected) <= 1e-12
    assert all(part.isfinite().all() for part in tensors(state))


@pytest.mark.parametrize("window", [1, 2, 5, 17, 20])
def test_a_window_steps_right_before_and_after_it_is_full(window):
    attention, x = build("window", "cs", window=window), draw(BATCH, 17, DIM)
    stepped, _ = decode(attention, x)
    assert relative_difference(stepped, attention(x)) <= 1e-12


@pytest.mark.parametrize("length", [1, 17, 65])
@decoding
def test_the_state_is_as_large_as_the_card_says(name, pattern, length):
    attention = build(name, pattern)
    context = context_for(attention, BATCH)
    _, state = decode(attention, draw(BATCH, length, DIM), context)
    elements = sum(part.numel() for part in tensors(state) if part.dtype != torch.bool)
    formula, keys = VARIANTS.card(name).state, CONTEXT if pattern.cross else length
    expected = STATES[formula](keys, HEAD_WIDTH, vars(attention.config))
    assert elements / (BATCH * HEADS) == pytest.approx(expected)


@decoding
def test_a_step_leaves_the_state_it_was_given_as_it_was(name, pattern):
    attention = build(name, pattern)
    x, context = draw(BATCH, 3, DIM), context_for(attention, BATCH)
    _, state = decode(attention, x, context)
    before = [part.clone() for part in tensors(state)]
    first, _ = attention.step(x[:, 0], state)
    second, _ = attention.step(x[:, 0], state)
    assert first.equal(second)
    for part, saved in zip(tensors(state), before, strict=True):
        assert part.equal(saved)


def test_a_card_with_a_state_decodes_and_no_other():
    for name, pattern in PAIRS:
        attention = build(name, pattern)
        assert attention.decodes == (pattern.causal and bool(VARIANTS.card(name).state))


@pytest.mark.parametrize(("name", "pattern"), [pair for pair in PAIRS if not pair[1].causal])
def test_noncausal_patterns_refuse_to_decode(name, pattern):
    attention = build(name, pattern)
    with pytest.raises(Unsupported, match="decode"):
        attention.initial_state(BATCH, context_for(attention, BATCH))


@pytest.mark.parametrize(("name", "pattern"), DECODING)
def test_decoding_asks_for_a_context_exactly_where_the_whole_sequence_does(name, pattern):
    attention = build(name, pattern)
    wrong = None if pattern.cross else draw(BATCH, CONTEXT, DIM)
    with pytest.raises(ValueError, match="context"):
        attention.initial_state(BATCH, wrong)
