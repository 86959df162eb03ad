"""PowerAttention is masked softmax over a window and the powers of two."""

import numpy as np
import pytest
import torch
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)
from support import DIM, draw

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


@pytest.mark.parametrize(
    ("length", "window"), [(1, 3), (2, 1), (17, 1), (33, 3), (34, 8), (16, 5)]
)
@patterns
def test_near_tokens_and_powers_of_two_are_seen(pattern, length, window):
    attention, (t, s) = build_sparse("power", pattern, window=window), pairs(length)
    visible = (abs(t - s) < window) | np.isin(abs(t - s), [1, 2, 4, 8, 16, 32])
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


@patterns
def test_a_window_of_the_length_is_softmax(pattern):
    assert_equals_softmax(build_sparse("power", pattern, window=19), 19)


def test_as_many_layers_as_the_length_has_bits_reach_every_earlier_token():
    # The paper's claim: a distance is a sum of at most log2 N powers of two.
    attention = build_sparse("power", "cs", window=1)

    def four_layers(x):
        for _ in range(4):
            x = attention(x[None])[0]
        return x

    moved = torch.autograd.functional.jacobian(four_layers, draw(16, DIM)).abs().amax(dim=(1, 3))
    assert (moved > 0).equal(torch.ones(16, 16, dtype=torch.bool).tril())
