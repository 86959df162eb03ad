"""MoBA reads the query's block and those of the best mean keys, and with all blocks is softmax."""

import numpy as np
import pytest
import torch
from sparse_oracles import BATCH, assert_equals_softmax, build_sparse, masked_softmax
from support import DIM, HEADS, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def visible_by_sorting(attention, x):
    """The blocks of each query, by the paper's rule, one query after the other."""
    block, top_k = attention.config.block, attention.config.top_k
    length, causal = x.shape[1], attention.pattern.causal
    q, k = (
        attention.split_heads(read(x)).detach().numpy()
        for read in (attention.query, attention.key)
    )
    visible = np.zeros((BATCH, HEADS, length, length), bool)
    blocks = [slice(start, min(start + block, length)) for start in range(0, length, block)]
    for row, head, t in np.ndindex(*visible.shape[:3]):
        own = t // block
        others = [b for b in range(len(blocks)) if (b < own if causal else b != own)]
        gate = {b: q[row, head, t] @ k[row, head, blocks[b]].mean(axis=0) for b in others}
        for b in [own, *sorted(others, key=lambda b: -gate[b])[: top_k - 1]]:
            visible[row, head, t, blocks[b]] = True
    return np.tril(visible) if causal else visible


@PATTERNS
@pytest.mark.parametrize(
    ("block", "top_k", "length"), [(3, 2, 17), (4, 3, 16), (5, 1, 7), (1, 4, 9)]
)
def test_it_is_softmax_over_the_chosen_blocks(pattern, block, top_k, length):
    attention = build_sparse("moba", pattern, block=block, top_k=top_k)
    x = draw(BATCH, length, DIM)
    expected = masked_softmax(attention, x, visible_by_sorting(attention, x))
    assert relative_difference(attention(x), expected) <= 1e-12


@PATTERNS
@pytest.mark.parametrize("top_k", [5, 9])
def test_with_all_blocks_it_is_softmax(pattern, top_k):
    assert_equals_softmax(build_sparse("moba", pattern, block=4, top_k=top_k), 17)


def test_a_block_that_padding_shortens_is_judged_by_the_mean_of_its_tokens():
    attention = build_sparse("moba", "ns", block=4, top_k=2)
    x, padding = draw(BATCH, 12, DIM), torch.zeros(BATCH, 12, dtype=torch.bool)
    padding[:, 6:8] = True
    # The same tokens again in place of the padding leave the mean as it is.
    twice = x.clone()
    twice[:, 6:8] = x[:, 4:6]
    chosen = []
    for stream, mask in ((x.masked_fill(padding[..., None], 0.0), padding), (twice, None)):
        q, k = (attention.split_heads(read(stream)) for read in (attention.query, attention.key))
        absent = torch.zeros(BATCH, 1, 12, dtype=torch.bool) if mask is None else mask[:, None]
        chosen.append(attention._choose(q, k, absent, torch.arange(12) // 4))
    assert chosen[0][:, :, ~padding[0]].equal(chosen[1][:, :, ~padding[0]])
