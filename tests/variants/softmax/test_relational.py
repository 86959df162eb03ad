"""Dual attention: sensory heads are softmax heads, relational heads retrieve relations."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)

WIDTH = 5
PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def by_the_paper(attention, x, source, heads):
    """One row of queries (N, D) and one of keys (M, D), message by message."""
    relational = max(1, heads // 2)
    sensory = heads - relational
    q, k = (
        read(z).unflatten(-1, (-1, WIDTH))
        for read, z in ((attention.query, x), (attention.key, source))
    )
    value = attention.value
    symbols = (value.templates(source).softmax(dim=-1) @ value.library).unflatten(-1, (-1, WIDTH))
    values = value.sensory(source).unflatten(-1, (-1, WIDTH)) if sensory else None
    out = torch.zeros(x.shape[0], heads, WIDTH, dtype=x.dtype)
    for t in range(x.shape[0]):
        visible = range(t + 1 if attention.pattern == "cs" else source.shape[0])
        for head in range(heads):
            scores = torch.stack([q[t, head] @ k[s, head] for s in visible]) / WIDTH**0.5
            for s, weight in zip(visible, scores.softmax(dim=0), strict=True):
                if head < sensory:
                    message = values[s, head]
                else:
                    relation = [
                        q[t, heads + one] @ k[s, heads + one] / WIDTH**0.5
                        for one in range(relational)
                    ]
                    projection = attention.relations[head - sensory]
                    message = torch.stack(relation) @ projection + symbols[s, head - sensory]
                out[t, head] += weight * message
    return attention.output(out.flatten(1))


@PATTERNS
@pytest.mark.parametrize("heads", [1, 2, 3, 4])
def test_it_is_the_messages_of_the_paper(pattern, heads):
    attention = build("relational", pattern, dim=heads * WIDTH, heads=heads, symbols=3)
    x, context = draw(2, 6, heads * WIDTH), context_for(attention, 2, 7)
    with torch.no_grad():
        source = x if context is None else context
        expected = torch.stack(
            [by_the_paper(attention, *rows, heads) for rows in zip(x, source, strict=True)]
        )
        assert relative_difference(attention(x, context), expected) <= 1e-12


@PATTERNS
def test_sensory_heads_are_heads_of_softmax_attention(pattern):
    attention = build("relational", pattern, dim=20, heads=4)
    softmax, state = build("softmax", pattern, dim=20, heads=4), attention.state_dict()
    with torch.no_grad():
        attention.output.weight[:, 10:] = 0.0
    softmax.load_state_dict(
        {
            "query.weight": state["query.weight"][:20],
            "key.weight": state["key.weight"][:20],
            "value.weight": state["value.sensory.weight"].repeat(2, 1),
            "output.weight": attention.output.weight,
        }
    )
    x, context = draw(BATCH, 9, 20), context_for(attention, BATCH)
    keys = 9 if context is None else CONTEXT
    for padding in (None, right_padding([keys, 8, 1, 3], keys)):
        got, expected = (one(x, context, key_padding_mask=padding) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


@pytest.mark.parametrize("pattern", ["cs", "cc"])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_it_steps_to_the_same_answers_from_the_state_of_its_card(pattern, heads):
    attention = build("relational", pattern, dim=heads * WIDTH, heads=heads)
    x, context = draw(BATCH, 7, attention.dim), context_for(attention, BATCH)
    keys = 7 if context is None else CONTEXT
    padding = None if context is None else right_padding([keys, 8, 1, 3], keys)
    expected = attention(x, context, key_padding_mask=padding)
    state = attention.initial_state(BATCH, context, key_padding_mask=padding)
    for t in range(7):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    held = (state.k.numel() + state.v.numel()) / (BATCH * keys * WIDTH)
    assert held == 2 * heads + max(1, heads // 2)


def test_relations_do_not_carry_what_a_token_is_but_how_it_stands_to_the_query():
    """Tokens that differ where no relation looks, and carry one symbol, are retrieved alike."""
    attention = build("relational", "nc", dim=5, heads=1, symbols=2)
    with torch.no_grad():
        attention.key.weight[:, 0] = 0.0
        attention.value.templates.weight.zero_()
    x, context = draw(2, 3, 5), draw(2, 7, 5, seed="context")
    changed = context.clone()
    changed[..., 0] += draw(2, 7)
    assert relative_difference(attention(x, changed), attention(x, context)) <= 1e-12
