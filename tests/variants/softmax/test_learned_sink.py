"""A learned sink is one more key, of a token whose value is zero."""

import pytest
import torch
from support import (
    BATCH,
    DIM,
    HEADS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def build_drawn(pattern, **options):
    attention = build("learned-sink", pattern, **options)
    with torch.no_grad():
        attention.sinks.copy_(draw(*attention.sinks.shape))
    return attention


@PATTERNS
@pytest.mark.parametrize("sinks", [1, 3])
def test_it_is_softmax_with_keys_of_no_value_before_the_others(pattern, sinks):
    attention = build_drawn(pattern, sinks=sinks)
    x, context = draw(BATCH, 9, DIM), context_for(attention, BATCH)
    source = x if context is None else context
    keys = source.shape[1]
    q, k, v = (
        attention.split_heads(read(z))
        for read, z in ((attention.query, x), (attention.key, source), (attention.value, source))
    )
    for padding in (None, right_padding([keys, 8, 1, 3], keys)):
        visible = torch.ones(BATCH, 1, 9, keys, dtype=torch.bool)
        if pattern == "cs":
            visible = visible.tril()
        if padding is not None:
            visible = visible & ~padding[:, None, None]
        mixed = torch.nn.functional.scaled_dot_product_attention(
            q,
            torch.cat((attention.sinks.expand(BATCH, -1, -1, -1), k), dim=2),
            torch.cat((torch.zeros(BATCH, HEADS, sinks, DIM // HEADS), v), dim=2),
            attn_mask=torch.nn.functional.pad(visible, (sinks, 0), value=True),
        )
        got = attention(x, context, key_padding_mask=padding)
        expected = attention.output(attention.merge_heads(mixed))
        if padding is not None and context is None:
            got, expected = got[~padding], expected[~padding]
        assert relative_difference(got, expected) <= 1e-12


@PATTERNS
def test_at_the_start_each_sink_adds_one_to_the_denominator(pattern):
    attention = build("learned-sink", pattern, sinks=2)
    attention.output.weight.data.copy_(torch.eye(DIM))
    x, context = draw(BATCH, 9, DIM), context_for(attention, BATCH)
    softmax = build("softmax", pattern)
    state = attention.state_dict()
    state.pop("sinks")
    softmax.load_state_dict(state)
    source = x if context is None else context
    q, k = (
        attention.split_heads(read(z))
        for read, z in ((attention.query, x), (attention.key, source))
    )
    total = (q @ k.mT / (DIM / HEADS) ** 0.5).exp()
    total = (total.tril() if pattern == "cs" else total).sum(dim=-1)
    share = (total / (total + 2)).transpose(1, 2).repeat_interleave(DIM // HEADS, dim=2)
    assert relative_difference(attention(x, context), share * softmax(x, context)) <= 1e-12


def test_a_sink_takes_all_weight_where_no_key_is_wanted():
    attention = build_drawn("cs")
    with torch.no_grad():
        # Queries of one direction, along which sinks lie far out.
        direction = attention.split_heads(attention.query(draw(1, 1, DIM)))[0]
        attention.sinks.copy_(1e4 * direction)
        out = attention(draw(1, 1, DIM))
    assert out.abs().max() <= 1e-12


def test_no_sinks_are_refused():
    with pytest.raises(Exception, match="sinks must be at least 1"):
        build("learned-sink", "cs", sinks=0)
