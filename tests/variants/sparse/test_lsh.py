"""Reformer's attention reads its buckets' chunks, each key once; with one bucket it is softmax."""

import numpy as np
import pytest
import torch
from sparse_oracles import build_sparse
from support import BATCH, DIM, HEAD_WIDTH, HEADS, draw, relative_difference

from cab.taxonomy import Pattern

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def shared_softmax(attention, x, visible):
    """Softmax over visible pairs (B, H, N, N), keys being queries of length sqrt(E)."""
    q, v = (
        attention.split_heads(read(x)).detach().numpy()
        for read in (attention.query, attention.value)
    )
    # The constant keeps a key of length 0 finite.
    k = q / np.sqrt((q**2).mean(axis=3, keepdims=True) + 1e-6)
    weights = np.where(visible, np.exp(q @ k.swapaxes(2, 3) / HEAD_WIDTH**0.5), 0.0)
    weights /= weights.sum(axis=3, keepdims=True)
    return attention.output(attention.merge_heads(torch.from_numpy(weights @ v)))


def visible_by_hashing(attention, x):
    """Which tokens each token sees: same bucket, same chunk of it or the one before, any round."""
    config, length = attention.config, x.shape[1]
    q = attention.split_heads(attention.query(x)).detach().numpy()
    visible = np.zeros((len(x), HEADS, length, length), bool)
    for row, head, r in np.ndindex(len(x), HEADS, config.rounds):
        turned = q[row, head] @ attention.rotations[head, r].numpy()
        bucket = np.concatenate((turned, -turned), axis=1)[:, : config.buckets].argmax(axis=1)
        for b in range(config.buckets):
            members = np.flatnonzero(bucket == b)
            for i, j in np.ndindex(len(members), len(members)):
                if i // config.chunk - j // config.chunk in (0, 1):
                    visible[row, head, members[i], members[j]] = True
    return hide(visible, attention.pattern.causal)


def hide(visible, causal):
    """Leave out the future, and each token itself unless it is alone."""
    visible = np.tril(visible) if causal else visible
    own = np.eye(visible.shape[-1], dtype=bool)
    alone = (visible & ~own).sum(axis=-1, keepdims=True) == 0
    return visible & (alone | ~own)


@PATTERNS
@pytest.mark.parametrize(
    ("rounds", "buckets", "chunk", "length"),
    [(1, 3, 2, 17), (2, 4, 3, 25), (4, 2, 4, 17), (3, 5, 1, 7)],
)
def test_it_is_softmax_over_the_union_of_rounds(pattern, rounds, buckets, chunk, length):
    attention = build_sparse("lsh", pattern, rounds=rounds, buckets=buckets, chunk=chunk)
    x = draw(BATCH, length, DIM)
    visible = visible_by_hashing(attention, x)
    assert visible.any(axis=(0, 1)).sum() > length  # chance leaves something to get wrong
    assert relative_difference(attention(x), shared_softmax(attention, x, visible)) <= 1e-12


@PATTERNS
@pytest.mark.parametrize("rounds", [1, 3])
def test_with_one_bucket_it_is_softmax_over_the_others(pattern, rounds):
    attention = build_sparse("lsh", pattern, rounds=rounds, buckets=1, chunk=17)
    x = draw(BATCH, 17, DIM)
    everything = np.ones((BATCH, HEADS, 17, 17), bool)
    visible = hide(everything, Pattern(pattern).causal)
    assert relative_difference(attention(x), shared_softmax(attention, x, visible)) <= 1e-12


def test_near_tokens_share_a_bucket_more_often_than_far_ones():
    attention = build_sparse("lsh", "ns", rounds=1, buckets=8, max_length=400)
    x = draw(1, 200, DIM)
    q = attention.split_heads(
        attention.query(torch.cat((x, x + 0.1 * draw(1, 200, DIM, seed=1)), 1))
    )
    bucket = attention._hash(q)[:, :, 0]
    near = (bucket[..., :200] == bucket[..., 200:]).double().mean()
    far = (bucket[..., :200] == bucket[..., 200:].roll(1, dims=2)).double().mean()
    assert near > 0.7
    assert far < 0.3


def test_the_rotations_travel_with_the_state_dict_and_keys_are_queries():
    attention = build_sparse("lsh", "cs")
    assert "rotations" in attention.state_dict()
    assert attention.key.weight is attention.query.weight
    names = [name for name, _ in attention.named_parameters()]
    assert names == ["query.weight", "value.weight", "output.weight"]
