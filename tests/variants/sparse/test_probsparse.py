"""ProbSparse attention lets the queries of greatest peak attend; with all it is softmax."""

import math

import numpy as np
import pytest
import torch
from sparse_oracles import assert_equals_softmax, build_sparse
from support import BATCH, CONTEXT, DIM, HEAD_WIDTH, HEADS, context_for, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "nc"])


def by_sorting(attention, x, context):
    source = x if context is None else context
    q, k, v = (
        attention.split_heads(read(stream)).detach().numpy()
        for read, stream in (
            (attention.query, x),
            (attention.key, source),
            (attention.value, source),
        )
    )
    factor, out = attention.config.factor, np.zeros(q.shape)
    few = [min(n, factor * max(1, math.ceil(math.log(n)))) for n in (q.shape[2], k.shape[2])]
    order = attention.order.numpy()
    sample = sorted(range(k.shape[2]), key=lambda s: order[s])[: few[1]]
    for row, head in np.ndindex(BATCH, HEADS):
        scores = q[row, head] @ k[row, head].T / HEAD_WIDTH**0.5
        peak = scores[:, sample].max(axis=1) - scores[:, sample].mean(axis=1)
        out[row, head] = v[row, head].mean(axis=0)
        for t in np.argsort(-peak)[: few[0]]:
            weights = np.exp(scores[t])
            out[row, head, t] = weights @ v[row, head] / weights.sum()
    return attention.output(attention.merge_heads(torch.from_numpy(out)))


@PATTERNS
@pytest.mark.parametrize(("factor", "length"), [(1, 1), (1, 17), (2, 30), (3, 2)])
def test_the_peaked_queries_attend_and_the_others_average(pattern, factor, length):
    attention = build_sparse("probsparse", pattern, factor=factor)
    x, context = draw(BATCH, length, DIM), context_for(attention, BATCH, CONTEXT)
    assert relative_difference(attention(x, context), by_sorting(attention, x, context)) <= 1e-12


def test_with_all_queries_it_is_softmax():
    assert_equals_softmax(build_sparse("probsparse", "ns", factor=6), 17)


def test_the_sample_of_a_row_does_not_depend_on_how_far_it_is_padded():
    attention = build_sparse("probsparse", "ns", factor=1)
    x = draw(2, 9, DIM)
    for longer in (10, 25, 40):
        padded = torch.cat((x, torch.full((2, longer - 9, DIM), float("nan")).double()), dim=1)
        mask = (torch.arange(longer) >= 9).expand(2, -1)
        out = attention(padded, key_padding_mask=mask)[:, :9]
        assert relative_difference(out, attention(x)) <= 1e-12


def test_the_module_draws_its_sample_once_and_saves_it():
    first, second = (
        build_sparse("probsparse", "ns", factor=1),
        build_sparse("probsparse", "ns", factor=1),
    )
    second.order.copy_(second.order.flip(0))
    x = draw(BATCH, 30, DIM)
    assert not first(x).equal(second(x))
    second.load_state_dict(first.state_dict())
    assert first(x).equal(second(x))
