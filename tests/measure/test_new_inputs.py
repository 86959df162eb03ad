"""Every timed call gets new numbers, so that a mechanism which stores answers gains nothing."""

import itertools
import time
from random import Random
from statistics import median

import pytest
import torch
from measure_support import QUICK, known_as, planted, point, rows_of
from torch import nn

from cab.measure.built import build
from cab.measure.passes import INPUT_SETS, Passage
from cab.measure.points import PASSES, MechanismName
from cab.measure.sampling import interleave, warm_up
from cab.measure.timers import ProcessorTimer

WORK = 0.004
"""Seconds that the planted mechanisms take for numbers that they have not met."""


def contents(*tensors):
    return tuple(hash(x.detach().numpy().tobytes()) for x in tensors)


def stores_answers_by_content(run):
    """Right for every input, and fast for those of earlier calls."""
    kept = {}

    def call(q, k, v):
        key = contents(q, k, v)
        if key not in kept:
            time.sleep(WORK)
            kept[key] = None
        return run(q, k, v)

    return call


class Backward(torch.autograd.Function):
    """The identity; its backward pass takes its time for gradients that it has not met."""

    @staticmethod
    def forward(ctx, x, kept):
        ctx.kept = kept
        return x.clone()

    @staticmethod
    def backward(ctx, above):
        if contents(above) not in ctx.kept:
            time.sleep(WORK)
            ctx.kept.add(contents(above))
        return above, None


def stores_gradients_by_content(run):
    kept = set()
    return lambda q, k, v: Backward.apply(run(q, k, v), kept)


@pytest.mark.parametrize(
    ("fault", "passage"),
    [
        (stores_answers_by_content, "fwd_no_grad"),
        (stores_answers_by_content, "fwd"),
        (stores_answers_by_content, "fwd_bwd"),
        (stores_answers_by_content, "decode"),
        (stores_gradients_by_content, "bwd"),
        (stores_gradients_by_content, "fwd_bwd"),
    ],
)
def test_what_stores_answers_or_gradients_by_content_gains_nothing(fault, passage):
    keys = {"keys": 48} if passage == "decode" else {}
    with known_as(planted(fault)):
        row = rows_of(["softmax:planted"], point(passage, **keys))["softmax:planted"]
    assert row.status == "ok", row.message
    assert min(row.timing.samples) >= WORK
    assert row.timing.warm_samples
    assert min(row.timing.warm_samples) >= WORK


class Remembers(nn.Module):
    """A module that answers at once for what it has met."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.kept = inner, set()

    def forward(self, x, context=None):
        if contents(x) not in self.kept:
            time.sleep(WORK)
            self.kept.add(contents(x))
        return self.inner(x, context)


def test_a_variant_that_stores_answers_by_content_gains_nothing():
    passage = Passage(build(MechanismName("linear"), point(value_width=0)))
    passage.mechanism.module = Remembers(passage.mechanism.module)
    timer = ProcessorTimer()
    assert warm_up(passage, timer, 0.0) >= WORK
    taken = interleave([passage], timer, QUICK, Random(0), None)[passage]
    assert min(*taken.cold, *taken.warm) >= WORK


def keeps_by_address(run):
    """Fast for tensors that it has met, whatever they hold now."""
    kept = {}

    def call(q, k, v):
        if q.data_ptr() not in kept and q.shape[2] > 130:  # right where the gate looks before
            kept[q.data_ptr()] = run(q, k, v)
        return kept[q.data_ptr()] if q.data_ptr() in kept else run(q, k, v)

    return call


def test_what_keeps_answers_by_address_is_refused():
    with known_as(planted(keeps_by_address)):
        row = rows_of(["softmax:planted"], point(length=140))["softmax:planted"]
    assert (row.status, row.timing) == ("refused", None)
    assert "It caches outputs" in row.message


@pytest.mark.parametrize("passage", PASSES)
@pytest.mark.parametrize("name", [MechanismName("linear"), MechanismName("sdpa", "softmax")])
def test_no_two_calls_of_any_pass_see_the_same_numbers(name, passage):
    if name.operator and passage == "prefill":
        pytest.skip("operators have no prompt")
    timed = Passage(build(name, point(passage, length=11, keys=11, value_width=0)))
    seen = {contents(*given.values()) for given in timed.inputs}
    addresses = set()
    count = 3 * INPUT_SETS
    for number in range(count):
        timed.call(number)()
        given = timed.inputs[timed._filled % INPUT_SETS]
        seen.add(contents(*given.values()))
        addresses.add(next(iter(given.values())).data_ptr())
        for label, x in timed.numbers(number).items():
            assert torch.equal(given[label], x)
    assert len(seen) == INPUT_SETS + count
    assert len(addresses) == INPUT_SETS


def test_mechanisms_of_a_cell_get_the_same_numbers_and_those_of_other_runs_do_not():
    def numbers(salt):
        passage = Passage(build(MechanismName("linear"), point(value_width=0)), salt)
        return passage.numbers(5)["x"]

    assert torch.equal(numbers(1), numbers(1))
    assert not torch.equal(numbers(1), numbers(2))


def test_drawing_is_not_in_the_times():
    built = build(MechanismName("sdpa", "softmax"), point())
    draw = built.draw

    def slowly(seed):
        time.sleep(0.02)
        return draw(seed)

    built.draw = slowly
    passage, timer = Passage(built), ProcessorTimer()
    warm_up(passage, timer, 0.0)
    taken = interleave([passage], timer, QUICK, Random(0), None)[passage]
    assert median([*taken.cold, *taken.warm]) < 0.01
    assert passage.drawing >= 0.02 * len(taken.cold)


def test_a_result_that_is_a_view_of_its_input_is_checked_as_it_was_when_timed():
    timer = ProcessorTimer()
    for answers in (lambda inputs: inputs["x"], lambda inputs: inputs["x"][:]):
        passage = Passage(build(MechanismName("linear"), point(value_width=0)))
        passage._run = answers
        one = interleave([passage], timer, QUICK, Random(0), None)[passage]
        assert torch.equal(one.last_result, passage.numbers(one.last_sample)["x"])


def test_samples_of_one_phase_are_not_those_of_another():
    passage = Passage(build(MechanismName("linear"), point(value_width=0)))
    samples = [0, ("warm-up", 0), ("warm", 0, "timed"), ("warm", 0, "other")]
    for one, other in itertools.combinations(samples, 2):
        assert not torch.equal(passage.numbers(one)["x"], passage.numbers(other)["x"])
