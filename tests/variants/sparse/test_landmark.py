"""Landmark attention is a grouped softmax, and learns which block holds what is asked for."""

import numpy as np
import pytest
import torch
from sparse_oracles import assert_equals_softmax, build_sparse
from support import BATCH, DIM, HEAD_WIDTH, HEADS, draw, relative_difference


def by_grouped_softmax(attention, x):
    """The paper's two softmaxes, query by query."""
    block, top_k, length = attention.config.block, attention.config.top_k, x.shape[1]
    with torch.no_grad():
        q, k, v, e = (
            attention.split_heads(read(stream)).numpy()
            for read, stream in (
                (attention.query, x),
                (attention.key, x),
                (attention.value, x),
                (attention.key, attention.landmark),
            )
        )
    out = np.zeros(q.shape)
    for row, head, t in np.ndindex(BATCH, HEADS, length):
        scores = q[row, head, t] @ k[row, head].T / HEAD_WIDTH**0.5
        own = range(t // block * block, t + 1)
        ends = [b * block + block - 1 for b in range(t // block)]
        opened = {s: scores[s] + q[row, head, t] @ e[0, head, 0] / HEAD_WIDTH**0.5 for s in ends}
        opened = dict(sorted(opened.items(), key=lambda one: -one[1])[:top_k])
        total = np.exp(scores[own]).sum() + sum(np.exp(score) for score in opened.values())
        weights = np.zeros(length)
        weights[own] = np.exp(scores[own]) / total
        for last, score in opened.items():
            tokens = range(last - block + 1, last + 1)
            shares = np.exp(scores[tokens]) / np.exp(scores[tokens]).sum()
            weights[tokens] = np.exp(score) / total * shares
        out[row, head, t] = weights @ v[row, head]
    return attention.output(attention.merge_heads(torch.from_numpy(out)))


@pytest.mark.parametrize(
    ("block", "top_k", "length"), [(3, 2, 17), (4, 1, 16), (1, 3, 8), (5, 9, 25)]
)
def test_it_is_the_grouped_softmax(block, top_k, length):
    attention = build_sparse("landmark", "cs", block=block, top_k=top_k)
    x = draw(BATCH, length, DIM)
    assert relative_difference(attention(x), by_grouped_softmax(attention, x)) <= 1e-12


def test_one_block_is_softmax():
    assert_equals_softmax(build_sparse("landmark", "cs", block=17), 17)


def test_landmarks_learn_to_open_the_block_that_is_asked_for():
    block, blocks, codes = 2, 3, 3
    attention = build_sparse("landmark", "cs", heads=1, block=block, top_k=blocks)

    def texts(step):
        """Blocks of content that end in a code; then a code, to be answered with its content."""
        code = draw(32, blocks, seed=("codes", step)).argsort(dim=1)
        content = draw(32, blocks, DIM - codes, seed=("content", step))
        x = torch.zeros(32, blocks * block + 1, DIM, dtype=torch.float64)
        x[:, :-1, codes:] = content.repeat_interleave(block, dim=1)
        rows, names = torch.arange(32)[:, None], torch.arange(codes)
        x[rows, torch.arange(blocks) * block + block - 1, codes:] = 0
        x[rows, torch.arange(blocks) * block + block - 1, code] = 3
        asked = draw(32, seed=("asked", step)).argsort() % blocks
        x[:, -1, :codes] = 3 * (names == code[rows[:, 0], asked][:, None])
        return x, content[rows[:, 0], asked], asked

    def opened(step):
        x, _, asked = texts(step)
        q, k, e = (
            attention.split_heads(read)[:, 0]
            for read in (attention.query(x), attention.key(x), attention.key(attention.landmark))
        )
        landmarks = k[:, block - 1 : -1 : block] + e
        return ((q[:, -1:] @ landmarks.mT)[:, 0].argmax(dim=1) == asked).double().mean()

    optimiser = torch.optim.Adam(attention.parameters(), lr=0.05)
    for step in range(60):
        x, wanted, _ = texts(step)
        loss = (attention(x)[:, -1, codes:] - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert opened("test") > 0.9
