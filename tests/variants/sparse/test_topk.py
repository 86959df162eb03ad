"""Top-k attention reads the keys of the highest scores, no others, and then is softmax."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEAD_WIDTH,
    HEADS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def by_sorting(attention, x, context, padding):
    """The definition, query by query: sort the visible scores, keep the first."""
    source = x if context is None else context
    out = torch.zeros_like(x)
    q, k, v = attention.query(x), attention.key(source), attention.value(source)
    for row in range(x.shape[0]):
        for t in range(x.shape[1]):
            for head in range(HEADS):
                cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
                visible = [
                    s
                    for s in range(source.shape[1])
                    if (attention.pattern != "cs" or s <= t)
                    and (padding is None or not padding[row, s])
                ]
                scores = {s: (q[row, t, cut] @ k[row, s, cut]).item() for s in visible}
                kept = sorted(visible, key=lambda s: -scores[s])[: attention.config.keep]
                if kept:
                    weights = torch.tensor([scores[s] for s in kept], dtype=x.dtype)
                    weights = (weights / HEAD_WIDTH**0.5).softmax(dim=0)
                    out[row, t, cut] = weights @ v[row, kept][:, cut]
    return attention.output(out)


@PATTERNS
@pytest.mark.parametrize("keep", [1, 3, 40])
def test_it_is_softmax_over_the_first_keys_in_order_of_their_scores(pattern, keep):
    attention = build("topk", pattern, keep=keep, chunk=4)
    x, context = draw(BATCH, 9, DIM), context_for(attention, BATCH)
    keys = 9 if context is None else CONTEXT
    padding = right_padding([keys, keys // 2, 1, 0], keys)
    with torch.no_grad():
        for mask in (None, padding):
            got = attention(x, context, key_padding_mask=mask)
            expected = by_sorting(attention, x, context, mask)
            if mask is not None and context is None:  # what stands at a padded query is not said
                got, expected = got[~mask], expected[~mask]
            assert relative_difference(got, expected) <= 1e-12


@PATTERNS
def test_as_many_keys_as_there_are_is_softmax_in_values_and_gradients(pattern):
    attention, softmax = build("topk", pattern, keep=64, chunk=5), build("softmax", pattern)
    softmax.load_state_dict(attention.state_dict())
    results = []
    for one in (attention, softmax):
        x, context = draw(BATCH, 17, DIM).requires_grad_(), context_for(one, BATCH)
        keys = 17 if context is None else CONTEXT
        out = one(x, context, key_padding_mask=right_padding([keys, 8, 1, 3], keys))
        gradients = torch.autograd.grad(out.square().sum(), (x, *one.parameters()))
        results.append((out, *gradients))
    for got, expected in zip(*results, strict=True):
        assert relative_difference(got, expected) <= 1e-12


@PATTERNS
@pytest.mark.parametrize("chunk", [1, 5, 16, 17, 200])
def test_the_chunk_changes_nothing(pattern, chunk):
    one, other = build("topk", pattern, keep=3, chunk=chunk), build("topk", pattern, keep=3)
    x, context = draw(BATCH, 17, DIM), context_for(one, BATCH)
    assert relative_difference(one(x, context), other(x, context)) <= 1e-12


def test_equal_scores_at_the_threshold_are_all_kept():
    attention = build("topk", "ns", keep=2)
    with torch.no_grad():
        attention.key.weight.zero_()
        x = draw(2, 7, DIM)
        mean = attention.output(attention.value(x).mean(dim=1, keepdim=True)).expand_as(x)
        assert relative_difference(attention(x), mean) <= 1e-12


def test_causal_choices_are_among_visible_keys_alone():
    # Every later key scores higher: chosen among all keys, early queries would be left with none.
    attention = build("topk", "cs", keep=2, dim=2, heads=1)
    with torch.no_grad():
        for read in (attention.query, attention.key, attention.value, attention.output):
            read.weight.copy_(torch.eye(2))
        x = torch.stack((torch.ones(6), torch.arange(6.0)), dim=1)[None].double()
        out = attention(x)
    for t in range(1, 6):
        weights = (x[0, t] @ x[0, t - 1 : t + 1].T / 2**0.5).softmax(dim=0)
        torch.testing.assert_close(out[0, t], weights @ x[0, t - 1 : t + 1])
