"""Bytes against what can be counted by hand."""

import pytest
from measure_support import point

from cab.measure.built import build
from cab.measure.memory import measure_memory
from cab.measure.passes import Passage
from cab.measure.points import MechanismName

FLOAT = 4


def memory(operator, implementation, at):
    return measure_memory(Passage(build(MechanismName(implementation, operator), at)))


def test_eager_softmax_holds_scores_and_weights_at_once():
    one = memory("softmax", "eager", point(length=64, pattern="ns"))
    scores, scaled, output = (2 * 3 * 64 * n * FLOAT for n in (64, 8, 5))
    assert one.outputs == output
    assert 2 * scores <= one.peak <= 2 * scores + 2 * scaled + output
    assert one.workspace == one.peak - one.outputs


def test_saved_for_backward_counts_each_storage_once_and_no_input():
    # One sequence: the heads of several, cut from a layer, are copied for a product.
    one = memory("linear", "chunked", point("fwd", length=64, pattern="ns", batch=1))
    state, output = 3 * 8 * 5 * FLOAT, 3 * 64 * 5 * FLOAT
    assert one.saved == state  # q (k^T v) keeps k^T v beside its inputs
    assert one.held == state
    assert one.outputs == output


@pytest.mark.parametrize(
    ("operator", "implementation", "power"),
    [
        ("softmax", "eager", 2),
        ("softmax", "chunked", 1),
        ("softmax", "sdpa", 1),
        ("linear", "chunked", 1),
        ("window", "chunked", 1),
    ],
)
def test_peaks_grow_as_they_should_forward_and_backward(operator, implementation, power):
    sizes = {"value_width": 0, "heads": 1, "batch": 1, "window": 16 if operator == "window" else 0}
    short, long = (
        memory(operator, implementation, point("fwd_bwd", length=n, **sizes)).peak
        for n in (1024, 2048)
    )
    assert long / short < 2 ** (power + 0.2)
    assert (long / short > 2**1.8) == (power == 2)
