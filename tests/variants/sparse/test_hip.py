"""HiP finds keys by its tree search, with as many keys as there are it is softmax."""

import itertools

import numpy as np
import pytest
import torch
from sparse_oracles import BATCH, assert_equals_softmax, build_sparse, masked_softmax
from support import DIM, HEADS, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def search(judge, extent, top_k):
    """The paper's search over `extent` blocks, with lists: halve, judge the middles, keep K."""
    edges = [extent * j // top_k for j in range(top_k + 1)]
    nodes = [(a, b) for a, b in itertools.pairwise(edges) if a < b]
    while any(b - a > 1 for a, b in nodes):
        halves = []
        for a, b in nodes:
            middle = (a + b + 1) // 2
            halves += [(a, middle), (middle, b)]
        halves = [(a, b) for a, b in halves if a < b]
        nodes = sorted(halves, key=lambda node: -judge(sum(node) // 2))[:top_k]
    return [a for a, _ in nodes]


def visible_by_search(attention, x):
    rows, columns = attention.config.query_block, attention.config.key_block
    length, causal = x.shape[1], attention.pattern.causal
    q, k = (
        attention.split_heads(read(x)).detach().numpy()
        for read in (attention.query, attention.key)
    )
    visible = np.zeros((BATCH, HEADS, length, length), bool)
    for row, head, start in np.ndindex(BATCH, HEADS, -(-length // rows)):
        first = start * rows
        block = slice(first, min(first + rows, length))
        asking = q[row, head, [first] if causal else block]
        extent = first // columns if causal else -(-length // columns)
        chosen = search(
            lambda m, asking=asking, keys=k[row, head]: (asking @ keys[m * columns]).max(),
            extent,
            attention.config.top_k,
        )
        for b in chosen:
            visible[row, head, block, b * columns : (b + 1) * columns] = True
        if causal:
            visible[row, head, block, block] = True
    return np.tril(visible) if causal else visible


@PATTERNS
@pytest.mark.parametrize(
    ("query_block", "key_block", "top_k", "length"),
    [(4, 2, 2, 39), (4, 1, 3, 33), (6, 3, 1, 25), (2, 2, 4, 40), (8, 2, 5, 5), (1, 1, 2, 17)],
)
def test_it_is_softmax_over_what_the_search_finds(pattern, query_block, key_block, top_k, length):
    attention = build_sparse(
        "hip", pattern, query_block=query_block, key_block=key_block, top_k=top_k
    )
    x = draw(BATCH, length, DIM)
    visible = visible_by_search(attention, x)
    assert relative_difference(attention(x), masked_softmax(attention, x, visible)) <= 1e-12


@PATTERNS
@pytest.mark.parametrize("top_k", [9, 30])
def test_with_all_keys_it_is_softmax(pattern, top_k):
    attention = build_sparse("hip", pattern, query_block=4, key_block=2, top_k=top_k)
    assert_equals_softmax(attention, 17)


def test_the_search_finds_the_one_key_that_stands_out_among_alike_ones():
    # Keys that grow smoothly towards a peak: locality, which the paper's search relies on.
    attention = build_sparse("hip", "ns", query_block=4, key_block=1, top_k=2, heads=1)
    with torch.no_grad():
        for read in (attention.query, attention.key, attention.value, attention.output):
            read.weight.copy_(torch.eye(DIM))
    for peak in (0, 5, 16, 31):
        x = torch.zeros(1, 32, DIM, dtype=torch.float64)
        x[0, :, 0] = 10 - (torch.arange(32) - peak).abs() / 4
        chosen, spare = attention._search(
            x.unflatten(1, (1, 8, 4)),
            torch.zeros(1, 1, 8, 4, dtype=torch.bool),
            x[:, None],
            torch.zeros(1, 1, 32, dtype=torch.bool),
            torch.tensor([32]),
        )
        assert not spare.any()
        assert (chosen == peak).any(dim=-1).all()


def test_a_query_block_that_key_blocks_do_not_divide_is_refused():
    with pytest.raises(Exception, match="multiple"):
        build_sparse("hip", "cs", query_block=5, key_block=2)
