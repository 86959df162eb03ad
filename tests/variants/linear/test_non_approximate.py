"""Non-approximate attention is the mean of the values under one softmax of scores per token."""

import pytest
import torch
import torch.nn.functional as F
from linear_oracles import assert_is
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def weigh_tokens(attention, q, k, v, head):
    scores = torch.stack([F.silu(q[s]) @ k[s] for s in range(len(q))]) / q.shape[1] ** 0.5
    rows = []
    for t in range(len(q)):
        seen = t + 1 if attention.pattern == "cs" else len(q)
        weights = scores[:seen].exp()
        rows.append((weights[:, None] * v[:seen]).sum(dim=0) / weights.sum())
    return torch.stack(rows)


@PATTERNS
def test_it_is_the_softmax_of_each_tokens_own_score(pattern):
    assert_is("non-approximate", pattern, weigh_tokens)


@PATTERNS
@torch.no_grad()
def test_a_token_of_overwhelming_score_is_all_that_is_read_from_there_on(pattern):
    attention = build("non-approximate", pattern)
    for part in (attention.query, attention.key):
        part.weight.copy_(torch.eye(DIM))
    x = draw(BATCH, 9, DIM)
    x[:, 4] = 100.0
    out, expected = attention(x), attention.output(attention.value(x[:, 4:5]))
    first = 4 if pattern == "cs" else 0
    assert relative_difference(out[:, first:], expected.expand(-1, 9 - first, -1)) <= 1e-12


@both_dtypes
@PATTERNS
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("non-approximate", pattern, dtype)
