"""BigBird's attention is masked softmax over near, global and random blocks."""

import numpy as np
import pytest
from sparse_oracles import (
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)
from support import DIM, draw

from cab.errors import Unsupported

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


def visible_pairs(attention, length):
    """The mask (H, N, N) of the paper's definition, from the random blocks that were drawn."""
    config, (t, s) = attention.config, pairs(length)
    t, s = t // config.block, s // config.block
    shared = (abs(t - s) <= config.near_blocks) | (s < config.global_blocks)
    shared = shared | (t < config.global_blocks)
    chosen = attention.chosen.numpy()[:, t[:, 0]]
    return shared | (chosen[:, :, None, :] == s[None, None, :, None]).any(axis=3)


@pytest.mark.parametrize("length", [1, 3, 17, 40])
@pytest.mark.parametrize(
    "options",
    [
        {"block": 3, "near_blocks": 1, "global_blocks": 2, "random_blocks": 3},
        {"block": 1, "near_blocks": 2, "global_blocks": 1, "random_blocks": 5},
        {"block": 4, "near_blocks": 0, "global_blocks": 0, "random_blocks": 2},
        {"block": 5, "near_blocks": 1, "global_blocks": 1, "random_blocks": 0},
    ],
)
@patterns
def test_near_global_and_random_blocks_are_seen(pattern, options, length):
    attention = build_sparse("bigbird", pattern, **options)
    assert_equals_masked_softmax(attention, visible_pairs(attention, length))


@pytest.mark.parametrize(
    "options",
    [{"near_blocks": 9}, {"global_blocks": 9}, {"near_blocks": 0, "random_blocks": 9}],
)
@patterns
def test_blocks_that_reach_everything_are_softmax(pattern, options):
    attention = build_sparse("bigbird", pattern, max_length=19, **{"block": 3, **options})
    assert_equals_softmax(attention, 19)


@patterns
def test_random_blocks_differ_in_each_row_and_are_none_that_is_seen_already(pattern):
    attention = build_sparse("bigbird", pattern, max_length=130)
    own = np.arange(attention.chosen.shape[1])[:, None]
    chosen = attention.chosen.numpy()
    drawn = chosen >= 0
    assert ((abs(chosen - own) > 1) & (chosen >= 2))[drawn].all()
    assert (chosen < (own if pattern == "cs" else len(own))).all()
    for row in chosen.reshape(-1, 3):
        assert len(set(row[row >= 0])) == (row >= 0).sum()
    # Rows with fewer than three to draw from are the first ones of the causal pattern.
    enough = own[:, 0] >= 6 if pattern == "cs" else own[:, 0] >= 0
    assert drawn[:, enough].all()
    heads = attention.chosen[:, enough]
    assert not heads[0].equal(heads[1])


def test_a_longer_sequence_than_blocks_were_drawn_for_is_refused():
    attention = build_sparse("bigbird", max_length=10)
    with pytest.raises(Unsupported, match=r"at most 10 tokens \(max_length\) and got 13"):
        attention(draw(1, 13, DIM))
