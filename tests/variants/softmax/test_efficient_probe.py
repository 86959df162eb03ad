"""Efficient probing pools the context with learned queries, moved by the stream."""

import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEAD_WIDTH,
    HEADS,
    build,
    draw,
    relative_difference,
    right_padding,
)


def by_the_paper(attention, x, context):
    """One token and one context (M, D), query by query."""
    parts = []
    for head in range(HEADS):
        query = attention.queries[head] + x
        weights = (context @ query / DIM**0.5).softmax(dim=0)
        slice_of_values = attention.value(context)[:, head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH]
        parts.append(weights @ slice_of_values)
    return torch.cat(parts)


def test_each_query_pools_its_own_slice_of_the_values():
    attention = build("efficient-probe", "nc")
    with torch.no_grad():
        attention.queries.copy_(draw(HEADS, DIM))
    x, context = draw(BATCH, 7, DIM), draw(BATCH, CONTEXT, DIM, seed="context")
    lengths = [CONTEXT, 11, 1, 4]
    for padding in (None, right_padding(lengths, CONTEXT)):
        got = attention(x, context, key_padding_mask=padding)
        for row, length in enumerate(lengths):
            seen = context[row, : CONTEXT if padding is None else length]
            expected = torch.stack([by_the_paper(attention, one, seen) for one in x[row]])
            assert relative_difference(got[row], expected) <= 1e-12


def test_without_a_stream_it_is_attention_with_query_and_key_projections_folded_into_its_queries():
    """Multi-head cross attention of one vector u: q_h = W_k^T W_q u, up to the scale of scores."""
    probe, softmax = build("efficient-probe", "nc"), build("softmax", "nc")
    u, context = draw(1, 1, DIM, seed="u"), draw(1, 11, DIM, seed="context")
    with torch.no_grad():
        softmax.output.weight.copy_(torch.eye(DIM))
        probe.value.weight.copy_(softmax.value.weight)
        for head in range(HEADS):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            folded = softmax.key.weight[cut].T @ softmax.query.weight[cut] @ u[0, 0]
            probe.queries[head] = folded * (DIM / HEAD_WIDTH) ** 0.5
    got = probe(torch.zeros_like(u), context)
    assert relative_difference(got, softmax(u, context)) <= 1e-12
