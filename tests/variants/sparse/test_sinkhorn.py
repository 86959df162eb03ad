"""Sinkhorn attention mixes blocks as the paper says, with one block is softmax, learns to sort."""

import numpy as np
import pytest
import torch
from sparse_oracles import assert_equals_softmax, build_sparse
from support import BATCH, DIM, HEAD_WIDTH, HEADS, draw, relative_difference


def sorting(attention, tokens, head):
    """R of one head (n, n), by dividing columns and rows; N tokens of the layer's input."""
    block = attention.config.block
    inner, bias, outer, outer_bias = (p.detach().numpy() for p in attention.sort.parameters())
    starts = range(0, len(tokens), block)
    summaries = [tokens[start : start + block].sum(axis=0) for start in starts]
    first = head * len(outer) // HEADS
    scores = []
    for z in summaries:
        hidden = np.maximum(inner @ z + bias, 0)
        scores.append((outer @ hidden + outer_bias)[first : first + len(summaries)])
    scores = np.array(scores)
    order = np.exp(scores / attention.config.temperature)
    for _ in range(attention.config.iterations):
        order /= order.sum(axis=0)
        order /= order.sum(axis=1)[:, None]
    return order


def by_loops(attention, x):
    block, length = attention.config.block, x.shape[1]
    q, k, v = (
        attention.split_heads(read(x)).detach().numpy()
        for read in (attention.query, attention.key, attention.value)
    )
    out = np.zeros_like(v)
    for row, head in np.ndindex(BATCH, HEADS):
        order = sorting(attention, x[row].numpy(), head)
        for t in range(length):
            i = t // block
            own = range(i * block, min(length, (i + 1) * block))
            keys, values = list(k[row, head, own]), list(v[row, head, own])
            for place in range(block):
                sent = [j for j in range(len(order)) if j * block + place < length]
                if sent:
                    for source, into in ((k, keys), (v, values)):
                        tokens = [order[i, j] * source[row, head, j * block + place] for j in sent]
                        into.append(np.sum(tokens, axis=0))
            weights = np.exp(np.array(keys) @ q[row, head, t] / HEAD_WIDTH**0.5)
            out[row, head, t] = weights @ np.array(values) / weights.sum()
    return attention.output(attention.merge_heads(torch.from_numpy(out)))


@pytest.mark.parametrize(("block", "length"), [(3, 17), (4, 16), (1, 6), (5, 7)])
def test_it_is_softmax_over_the_mixed_and_the_own_block(block, length):
    attention = build_sparse("sinkhorn", block=block, iterations=3)
    x = draw(BATCH, length, DIM)
    assert relative_difference(attention(x), by_loops(attention, x)) <= 1e-12


@pytest.mark.parametrize("block", [17, 40])
def test_one_block_is_softmax(block):
    assert_equals_softmax(build_sparse("sinkhorn", block=block), 17)


def test_many_iterations_give_a_doubly_stochastic_matrix():
    attention = build_sparse("sinkhorn", block=4, iterations=200)
    order = attention._order(draw(BATCH, 6, DIM), torch.zeros(BATCH, 1, 6, dtype=torch.bool))
    for axis in (2, 3):
        torch.testing.assert_close(order.sum(dim=axis), torch.ones_like(order[..., 0]))


def test_the_sorting_learns_which_block_to_fetch():
    block, blocks = 4, 6
    attention = build_sparse("sinkhorn", block=block, heads=1, max_length=24)
    places = torch.eye(blocks, dtype=torch.float64).repeat_interleave(block, dim=0)
    # Each block must answer with what one other holds.
    wanted = torch.tensor([3, 5, 4, 0, 2, 1])
    optimiser = torch.optim.Adam(attention.parameters(), lr=0.02)
    for step in range(150):
        content = draw(16, blocks, DIM - blocks, seed=step).repeat_interleave(block, dim=1)
        x = torch.cat((places.expand(16, -1, -1), content), dim=2)
        target = content.unflatten(1, (blocks, block))[:, wanted].flatten(1, 2)
        loss = (attention(x)[..., blocks:] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    summaries = x.unflatten(1, (blocks, block)).sum(dim=2)
    order = attention._order(summaries, torch.zeros(16, 1, blocks, dtype=torch.bool))
    assert order[:, 0].mean(dim=0).argmax(dim=1).equal(wanted)
