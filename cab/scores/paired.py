"""Two entries compared seed by seed: the same data, initialisation and batches in each pair."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cab.scores.board import Board
from cab.scores.drawn import ANYWHERE, Interval, keyed_generator
from cab.scores.rows import BoardRow
from cab.scores.summary import student_t95

EXACT_PAIRS = 16
"""Up to so many pairs all assignments of signs are counted (65,536); above, 20,000 are drawn."""
DRAWN_FLIPS = 20_000


@dataclass(frozen=True)
class TaskDifference:
    """One task: score of A minus score of B, averaged over the seeds that both have.

    interval is Student's, over the differences of the pairs; None with one pair.
    """

    task: str
    pairs: tuple[float, ...]
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Comparison:
    """A minus B over the scored tasks on which both have results.

    difference is the mean over patterns of the mean over tasks of the mean over pairs; p_value
    the share of sign assignments that move it at least as far from 0 (two-sided): if A and B
    were exchangeable, each pair's difference could as well have had the other sign. only_one
    names the scored tasks on which only one of the two has results.
    """

    one: str
    other: str
    tasks: tuple[TaskDifference, ...]
    difference: float | None
    interval: Interval | None
    p_value: float | None
    only_one: tuple[str, ...]


def compare(board: Board, one: str, other: str, patterns: Mapping[str, str]) -> Comparison:
    """Compare two entries of a board; patterns gives each task's pattern.

    Raises:
        KeyError: the board has no such entry.
    """
    first, second = board.row(one), board.row(other)
    if first is None or second is None:
        raise KeyError(one if first is None else other)
    shared = sorted(set(first.coverage.tasks) & set(second.coverage.tasks))
    only_one = sorted(set(first.coverage.tasks) ^ set(second.coverage.tasks))
    found = [_on_task(board, first, second, task) for task in shared]
    tasks = [task for task in found if task is not None]
    if not tasks:
        return Comparison(one, other, (), None, None, None, tuple(only_one))
    weights = _weights(tasks, patterns)
    difference = math.fsum(
        weight * pair for weight, task in zip(weights, tasks, strict=True) for pair in task.pairs
    )
    reaches = [_reach(first, second, task.task) for task in tasks]
    shares = [weight * len(task.pairs) for weight, task in zip(weights, tasks, strict=True)]
    reach = Interval(
        math.fsum(share * one.low for share, one in zip(shares, reaches, strict=True)),
        math.fsum(share * one.high for share, one in zip(shares, reaches, strict=True)),
    )
    interval = _interval(weights, tasks, difference)
    return Comparison(
        one,
        other,
        tuple(tasks),
        difference,
        None if interval is None else interval.cut(reach, difference),
        sign_flip_p(
            [w * pair for w, task in zip(weights, tasks, strict=True) for pair in task.pairs]
        ),
        tuple(only_one),
    )


def _on_task(board: Board, first: BoardRow, second: BoardRow, task: str) -> TaskDifference | None:
    scale = board.scales[task]
    mine, theirs = first.results[task].values, second.results[task].values
    pairs = tuple(
        scale.score(mine[seed]) - scale.score(theirs[seed])
        for seed in sorted(set(mine) & set(theirs))
    )
    if not pairs:
        return None
    mean, n = statistics.fmean(pairs), len(pairs)
    if n < 2:
        return TaskDifference(task, pairs, mean, None)
    half = student_t95(n - 1) * statistics.stdev(pairs) / math.sqrt(n)
    interval = Interval(mean - half, mean + half).cut(_reach(first, second, task), mean)
    return TaskDifference(task, pairs, mean, interval)


def _reach(first: BoardRow, second: BoardRow, task: str) -> Interval:
    """The differences that two scores of a task can have."""
    one, other = first.results[task].score, second.results[task].score
    return ANYWHERE if one is None or other is None else one.minus(other).reach


def _weights(tasks: Sequence[TaskDifference], patterns: Mapping[str, str]) -> list[float]:
    """The weight of one pair of each task: patterns weigh the same, then tasks, then pairs."""
    counts: dict[str, int] = {}
    for task in tasks:
        counts[patterns[task.task]] = counts.get(patterns[task.task], 0) + 1
    return [1 / (len(counts) * counts[patterns[t.task]] * len(t.pairs)) for t in tasks]


def _interval(
    weights: Sequence[float], tasks: Sequence[TaskDifference], difference: float
) -> Interval | None:
    """Student's interval of the weighted sum, with Welch's and Satterthwaite's degrees."""
    if any(len(task.pairs) < 2 for task in tasks):
        return None
    shares = [
        (weight**2 * len(task.pairs) * statistics.variance(task.pairs), len(task.pairs) - 1)
        for weight, task in zip(weights, tasks, strict=True)
    ]
    total = math.fsum(share for share, _ in shares)
    if total == 0:
        return Interval(difference, difference)
    degrees = 1 / math.fsum((share / total) ** 2 / n for share, n in shares)
    half = student_t95(degrees) * math.sqrt(total)
    return Interval(difference - half, difference + half)


def sign_flip_p(terms: Sequence[float]) -> float:
    """The two-sided p of a sum under random signs of its terms (Fisher, 1935).

    Exact for up to `EXACT_PAIRS` terms, so at least 2 / 2^n; else by keyed draws, with the
    observed assignment counted in.
    """
    observed = abs(math.fsum(terms))
    values = np.asarray(terms, dtype=np.float64)
    exact = len(terms) <= EXACT_PAIRS
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(terms))))
    else:
        generator = keyed_generator("signs", str(len(terms)))
        signs = 2.0 * generator.integers(2, size=(DRAWN_FLIPS, len(terms))) - 1.0
    # Sums that are equal on paper may differ in the last digits.
    reached = int((np.abs(signs @ values) >= observed - 1e-12 * (1 + observed)).sum())
    return reached / len(signs) if exact else (reached + 1) / (len(signs) + 1)
