"""The dilated sliding window is masked softmax, with gaps in half of the heads."""

import numpy as np
import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)
from support import DIM, draw, relative_difference

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


@pytest.mark.parametrize(
    ("length", "window", "dilation"), [(1, 3, 2), (17, 3, 4), (23, 4, 3), (9, 2, 20), (7, 8, 2)]
)
@patterns
def test_the_last_half_of_the_heads_leave_gaps(pattern, length, window, dilation):
    attention = build_sparse("dilated", pattern, window=window, dilation=dilation)
    t, s = pairs(length)
    near = abs(t - s) < window
    apart = np.isin(abs(t - s), dilation * np.arange(window))
    assert_equals_masked_softmax(attention, np.stack([near, near, apart]))
    assert_card_says(attention, near | apart)


@patterns
def test_a_dilation_of_one_is_a_window(pattern):
    dilated = build_sparse("dilated", pattern, window=5, dilation=1)
    window, x = build_sparse("window", pattern, window=5), draw(2, 23, DIM)
    assert relative_difference(dilated(x), window(x)) <= 1e-12


@patterns
def test_a_single_head_with_a_window_of_the_length_is_softmax(pattern):
    assert_equals_softmax(build_sparse("dilated", pattern, heads=1, window=19), 19)
