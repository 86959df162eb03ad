"""MoA's heads read the first tokens and windows of their own, which grow with the length."""

import numpy as np
import pytest
from sparse_oracles import (
    assert_card_says,
    assert_equals_masked_softmax,
    assert_equals_softmax,
    build_sparse,
    pairs,
)
from support import VARIANTS

from cab.attention import build_attention
from cab.taxonomy import Pattern


@pytest.mark.parametrize(("base", "reach", "sinks"), [(2, 0.4, 1), (1, 0.0, 3), (5, 0.9, 2)])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("length", [7, 26])
def test_each_head_is_softmax_over_its_own_span(base, reach, sinks, heads, length):
    attention = build_sparse(
        "moa", "cs", heads=heads, max_length=length, base=base, reach=reach, sinks=sinks
    )
    t, s = pairs(length)
    spans = [base + reach * length * (h + 1) / heads for h in range(heads)]
    visible = np.stack([(t - s < span - 1e-9) | (s < sinks) for span in spans])
    assert_equals_masked_softmax(attention, visible)
    assert_card_says(attention, visible)


def test_spans_as_long_as_the_sequence_are_softmax():
    assert_equals_softmax(build_sparse("moa", "cs", base=17), 17)


def test_spans_follow_the_longest_sequence_of_training_not_of_tests():
    geometry = {"dim": 12, "heads": 3, "pattern": Pattern.CS, "max_length": 240}
    trained = build_attention(VARIANTS.load("moa"), {}, train_length=60, **geometry)
    assert trained.spans == build_sparse("moa", "cs", max_length=60).spans == [9, 14, 19]


def test_spans_grow_with_the_greatest_length_at_rates_of_their_own():
    short, long = (build_sparse("moa", "cs", max_length=length).spans for length in (60, 120))
    assert short == [9, 14, 19]
    assert long == [14, 24, 34]
