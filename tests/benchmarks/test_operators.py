"""The operators under pytest-benchmark: `make bench`, and `--benchmark-compare-fail` for ratios.

The target is one call that has ended when it returns; the flush and the backward pass's graph are
in the set-up.
"""

from typing import Any

import pytest

from cab.measure.built import build
from cab.measure.passes import Passage
from cab.measure.points import MechanismName, Pass, Point
from cab.measure.pytest_benchmarks import extra_info
from cab.measure.timers import choose_timer
from cab.taxonomy import Pattern

LENGTHS = (256, 1024, 4096)
SUBJECTS = ("softmax:eager", "softmax:sdpa", "softmax:chunked", "linear:chunked", "window:chunked")
ROUNDS = 20


@pytest.mark.benchmark(group="operators")
@pytest.mark.parametrize("passage", ["fwd_no_grad", "fwd_bwd"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("label", SUBJECTS)
def test_an_operator_over_lengths(benchmark: Any, label: str, length: int, passage: Pass) -> None:
    operator, _, implementation = label.partition(":")
    name = MechanismName(implementation, operator)
    window = 128 if operator == "window" else 0
    point = Point(Pattern.CS, passage, length, batch=1, heads=1, head_width=64, window=window)
    timed, timer = Passage(build(name, point)), choose_timer("cpu")
    taken = iter(range(1 << 30))

    def prepare() -> tuple[tuple[Any], dict[str, Any]]:
        call = timed.call(next(taken))
        timer.flush()
        return (call,), {}

    benchmark.extra_info.update(extra_info(name, point, timer.name))
    benchmark.pedantic(lambda call: call(), setup=prepare, rounds=ROUNDS, warmup_rounds=2)
