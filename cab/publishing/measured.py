"""Can the metrics and the curve of a record have been measured? Nothing is run to see it."""

import itertools
import math
from collections.abc import Iterator, Sequence

from cab.publishing.metrics import ROUNDING, Metric, metric_of
from cab.publishing.recount import TaskFacts
from cab.records.parts import Estimate
from cab.records.results import thinned_places
from cab.records.store import Record
from cab.running.cells import Cell
from cab.running.training import curve_steps
from cab.scores.ranges import RANGES

ERROR_SLACK = 1.01
"""How far a standard error may exceed the largest possible one: rounding alone."""

LOSS_SLACK = 0.2
"""How far, in shares of the loss at chance, a final training loss may exceed what calibrated
predictions of its accuracy have. The most among the 615 published records is 0.12."""

EXPLAINED_SLACK = 0.1
"""How far R2 may be from 1 minus the final training loss; the most among them is 0.03."""

SPLITS_SLACK = 0.15
SPLITS_ERRORS = 9
"""How far validation and test may lie apart: in shares of the metric's range, and in standard
errors of the difference. The most among them is 0.076, and 8.2: an error exceeds both."""


def measured_problems(record: Record, cell: Cell, at_chance: float | None) -> Iterator[str]:
    """Yield a sentence for each number of a record that training and testing cannot have given.

    Args:
        record: one that ended well.
        cell: its cell.
        at_chance: the loss of a network without attention in its first steps, if it is known.
    """
    recipe, levels = cell.recipe, max(1, len(cell.recipe.levels))
    for split, each in (("valid", recipe.valid_examples), ("test", recipe.test_examples)):
        count = each * levels
        for name, estimate in getattr(record.metrics, split).items():
            where = f"{split} {name}"
            yield from possible_problems(where, estimate, metric_of(name))
            if estimate.n != count:
                yield f"{where} is of {estimate.n} examples; the recipe has {count}"
    if record.metrics.test.keys() != record.metrics.valid.keys():
        yield "validation and test do not have the same metrics"
    if record.task.metric not in record.metrics.test:
        yield f"it has no test {record.task.metric}, the task's metric"
        return
    yield from _curve(record, cell)
    yield from _splits(record)
    if record.curve:
        yield from _loss(record, at_chance)


def estimate_problems(where: str, said: Estimate, found: Estimate) -> Iterator[str]:
    """Yield how an estimate differs from one that was computed here.

    Other processors round otherwise, so a few examples in a thousand may count otherwise.
    """
    away = abs(said.value - found.value)
    allowed = ROUNDING + 0.005 * max(abs(found.value), found.standard_error * math.sqrt(found.n))
    if said.n != found.n or away > allowed:
        yield (
            f"{where} is {said.value:.6g} over {said.n} examples; it is {found.value:.6g} over "
            f"{found.n}"
        )


def item_problems(record: Record, facts: TaskFacts) -> Iterator[str]:
    """Yield test metrics whose standard error is too small for what an example can score.

    A share of k right answers is a multiple of 1/k. If the n examples do not all score the same,
    one of them differs by 1/k or more, so the standard error is at least 1/(k n). Of a task with
    levels, each level is looked at by itself.
    """
    if record.metrics.levels:
        name = record.task.metric
        for at, items in zip(record.metrics.levels, facts.items, strict=False):
            yield from _items(f"test {name} at level {at.level}", name, at.test, items)
        return
    for name, estimate in record.metrics.test.items():
        yield from _items(f"test {name}", name, estimate, facts.items[0])


def _items(where: str, name: str, estimate: Estimate, items: int) -> Iterator[str]:
    if not metric_of(name).share or not items:
        return
    least = 1 / (items * estimate.n)
    if 0 < estimate.standard_error < least / ERROR_SLACK:
        yield (
            f"{where} has a standard error of {estimate.standard_error:.3g}; examples of {items} "
            f"answers that differ have at least {least:.3g}"
        )
    if estimate.standard_error == 0 and not _is_share(estimate.value, items):
        yield (
            f"{where} is {estimate.value:.6g} with a standard error of 0, and no example of up to "
            f"{items} answers can score that"
        )


def _is_share(value: float, items: int) -> bool:
    return any(
        abs(value - round(value * k) / k) <= ROUNDING / k for k in range(1, min(items, 1000) + 1)
    )


def possible_problems(where: str, one: Estimate, metric: Metric) -> Iterator[str]:
    """Yield how an estimate cannot be the mean of so many examples of a metric."""
    if not metric.possible(one.value):
        yield f"{where} is {one.value:.6g}, outside {_interval(metric)}"
        return
    largest = metric.largest_error(one.value, one.n)
    if one.standard_error > ERROR_SLACK * largest + ROUNDING:
        yield (
            f"{where} has a standard error of {one.standard_error:.3g}; {one.n} examples of mean "
            f"{one.value:.6g} in {_interval(metric)} have at most {largest:.3g}"
        )


def _interval(metric: Metric) -> str:
    return f"[{metric.low:g}, {metric.high:g}]"


def _curve(record: Record, cell: Cell) -> Iterator[str]:
    curve = record.curve
    steps = curve_steps(cell.recipe)
    every = list(steps)
    whole = [every[place] for place in thinned_places(len(every))]
    if [point.step for point in curve] != whole:
        yield f"its curve is not at the {len(whole)} steps at which training writes it"
        return
    names = record.metrics.valid.keys()
    for point in curve:
        for name, value in point.valid.items():
            if not metric_of(name).possible(value):
                yield (
                    f"valid {name} at step {point.step} is {value:.6g}, outside "
                    f"{_interval(metric_of(name))}"
                )
        if point.valid.keys() != (names if steps[point.step] else set()):
            yield f"its curve has other validation metrics at step {point.step} than training"
    last = {name: one.value for name, one in record.metrics.valid.items()}
    if dict(curve[-1].valid) != last:
        yield "its validation metrics are not those at the end of its curve"


def _splits(record: Record) -> Iterator[str]:
    for name, test in record.metrics.test.items():
        valid = record.metrics.valid.get(name)
        span = metric_of(name).span
        if valid is None or span is None:
            continue
        away = abs(test.value - valid.value)
        error = math.hypot(test.standard_error, valid.standard_error)
        if away > SPLITS_SLACK * span and away > SPLITS_ERRORS * error:
            yield (
                f"test {name} is {test.value:.4g} and valid {name} {valid.value:.4g}: too far "
                f"apart for examples that are drawn alike"
            )


def _loss(record: Record, at_chance: float | None) -> Iterator[str]:
    """Hold the loss at the end of training against the metrics.

    By Fano's inequality, calibrated predictions that are right with probability a have a
    cross-entropy of at most h(1 - a) + (1 - a) ln C, with h the binary entropy in nats and ln C
    the loss of a guess among C classes.
    """
    loss = record.curve[-1].loss
    chance = at_chance if at_chance is not None else max(point.loss for point in record.curve)
    both = (("valid", record.metrics.valid), ("test", record.metrics.test))
    for split, name, one in ((key, *item) for key, found in both for item in found.items()):
        metric = metric_of(name)
        if not metric.possible(one.value):
            continue
        if metric.share:
            wrong = min(1.0, max(0.0, 1 - one.value))
            most = _entropy(wrong) + (wrong + LOSS_SLACK) * chance
            if loss > most:
                yield (
                    f"{split} {name} is {one.value:.4g}, and its training ends at a loss of "
                    f"{loss:.4g}; at most {most:.4g} goes with it"
                )
        elif metric.explained and abs(1 - one.value - loss) > EXPLAINED_SLACK * max(1, loss):
            yield (
                f"{split} {name} is {one.value:.4g}, and its training ends at a mean squared "
                f"error of {loss:.4g}; they add up to 1"
            )


def _entropy(p: float) -> float:
    return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)


def unknown_metrics(record: Record) -> list[str]:
    """Metrics of which no range is known, so that their values cannot be checked."""
    return sorted(record.metrics.test.keys() - RANGES.keys())


NEAR_COPY = 2e-4
"""How near two seeds' curves may come, as the largest difference of their losses over the range
of these. The nearest among the published records come to 1e-3 of it, the nearest of a curve that
stays at chance to 2e-5 of the loss itself."""


def near_copies(records: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Yield pairs of records whose curves differ by less than those of two seeds do."""
    for one, other in itertools.combinations(records, 2):
        losses = [[point.loss for point in each.curve] for each in (one, other)]
        if not losses[0] or len(losses[0]) != len(losses[1]):
            continue
        away = max(abs(x - y) for x, y in zip(*losses, strict=True))
        both = losses[0] + losses[1]
        if away <= max(NEAR_COPY * (max(both) - min(both)), 0.1 * NEAR_COPY * max(map(abs, both))):
            yield one, other
