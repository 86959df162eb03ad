"""PQ top-k reads the keys that share most codewords, with all keys is softmax, and learns."""

import numpy as np
import pytest
import torch
from sparse_oracles import assert_equals_softmax, build_sparse, masked_softmax
from support import BATCH, DIM, HEADS, draw, relative_difference, right_padding

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def codes(attention, x):
    """The nearest codeword of each slice (B, H, N, codebooks), by distances."""
    words = attention.codewords.detach().numpy()
    books, width = words.shape[1], words.shape[3]
    x = attention.split_heads(x).detach().numpy()
    x = np.pad(x, [(0, 0)] * 3 + [(0, books * width - x.shape[3])])
    x = x.reshape(*x.shape[:3], books, 1, width)
    return ((x - words[:, None]) ** 2).sum(axis=-1).argmin(axis=-1)


def visible_by_sorting(attention, x):
    asked, stored = (codes(attention, read(x)) for read in (attention.query, attention.key))
    length, causal = x.shape[1], attention.pattern.causal
    visible = np.zeros((BATCH, HEADS, length, length), bool)
    for row, head, t in np.ndindex(visible.shape[:3]):
        matches = (asked[row, head, t] == stored[row, head]).sum(axis=1)
        keys = range(t + 1) if causal else range(length)
        best = sorted(keys, key=lambda s: (-matches[s], abs(t - s), s))
        visible[row, head, t, best[: attention.config.keep]] = True
    return visible


@PATTERNS
@pytest.mark.parametrize(
    ("keep", "codebooks", "codewords", "chunk"), [(3, 2, 4, 5), (1, 5, 2, 128), (6, 3, 3, 17)]
)
def test_it_is_softmax_over_the_keys_with_most_matches(pattern, keep, codebooks, codewords, chunk):
    attention = build_sparse(
        "pq-topk", pattern, keep=keep, codebooks=codebooks, codewords=codewords, chunk=chunk
    )
    x = draw(BATCH, 17, DIM)
    expected = masked_softmax(attention, x, visible_by_sorting(attention, x))
    assert relative_difference(attention(x), expected) <= 1e-12


@PATTERNS
def test_with_all_keys_it_is_softmax(pattern):
    assert_equals_softmax(build_sparse("pq-topk", pattern, keep=17, chunk=5), 17)


def test_codewords_learn_to_stand_for_queries_and_keys():
    attention = build_sparse("pq-topk", "ns", codewords=4).train()
    optimiser, losses = torch.optim.Adam(attention.parameters(), lr=0.05), []
    x, padding = draw(4, 30, DIM), right_padding([30, 20, 5, 0], 30)
    before = attention.query.weight.detach().clone()
    for _ in range(60):
        attention(x.masked_fill(padding[..., None], float("nan")), key_padding_mask=padding)
        loss = attention.auxiliary_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert attention.query.weight.equal(before)  # the loss moves codewords alone


def test_the_loss_is_the_squared_distance_to_the_nearest_codewords():
    attention, x = build_sparse("pq-topk", "ns", codebooks=3).train(), draw(1, 7, DIM)
    attention(x)
    words, total = attention.codewords.detach().numpy(), 0.0
    for read in (attention.query, attention.key):
        name, parts = codes(attention, read(x)), attention.split_heads(read(x)).detach().numpy()
        parts = np.pad(parts, [(0, 0)] * 3 + [(0, 1)]).reshape(1, HEADS, 7, 3, 2)
        for head, t, book in np.ndindex(HEADS, 7, 3):
            nearest = words[head, book, name[0, head, t, book]]
            total += ((parts[0, head, t, book] - nearest) ** 2).sum()
    assert attention.auxiliary_loss().item() == pytest.approx(total / (14 * HEADS))
