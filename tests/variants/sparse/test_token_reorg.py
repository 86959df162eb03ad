"""Token reorganisation against sorting and summing, token by token."""

import math

import pytest
import torch
from sparse_oracles import BATCH, assert_equals_softmax, build_sparse, random_padding
from support import DIM, HEAD_WIDTH, HEADS, draw, relative_difference


def written_out(attention, x):
    """One row (N, D) of unpadded tokens."""
    q, k = (part(x).view(len(x), HEADS, HEAD_WIDTH) for part in (attention.query, attention.key))
    maps = [
        (q[:, h].mean(dim=0) @ k[:, h].T / HEAD_WIDTH**0.5).softmax(dim=0) for h in range(HEADS)
    ]
    attentive = sum(maps) / HEADS
    best = sorted(range(len(x)), key=lambda s: -attentive[s])
    count = math.ceil(attention.config.keep * len(x))
    kept, rest = best[:count], best[count:]
    tokens = [x[s] for s in kept]
    if rest:
        tokens.append(sum(attentive[s] * x[s] for s in rest))
    keys, values = (part(torch.stack(tokens)) for part in (attention.key, attention.value))
    out = torch.zeros_like(x)
    for h in range(HEADS):
        cut = slice(h * HEAD_WIDTH, (h + 1) * HEAD_WIDTH)
        weights = (q[:, h] @ keys[:, cut].T / HEAD_WIDTH**0.5).softmax(dim=1)
        out[:, cut] = weights @ values[:, cut]
    return attention.output(out)


@torch.no_grad()
@pytest.mark.parametrize("keep", [0.01, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("length", [1, 2, 7, 33])
def test_it_reads_the_kept_tokens_and_the_fused_one(length, keep):
    attention, x = build_sparse("token-reorg", keep=keep), draw(BATCH, length, DIM)
    expected = torch.stack([written_out(attention, row) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-12
    padding = random_padding(length)
    got = attention(x, key_padding_mask=padding)
    assert got.isfinite().all()
    for row in range(BATCH):
        kept = ~padding[row]
        if kept.any():
            expected = written_out(attention, x[row, kept])
            assert relative_difference(got[row, kept], expected) <= 1e-12


def test_keeping_all_is_softmax():
    assert_equals_softmax(build_sparse("token-reorg", keep=1.0), 33)
