r"""Estimates: weighted sums of means over seeds, with the interval and the test of Welch.

A score is a weighted sum of means over seeds, one mean per task and entry, and so is the
difference of two scores. With the weights w_i, and the standard deviation s_i over n_i seeds,

    c_i = w_i^2 s_i^2 / n_i,    t = \sum_i w_i x_i / sqrt(\sum_i c_i),
    df = (\sum_i c_i)^2 / \sum_i c_i^2 / (n_i - 1),

with the degrees of freedom of Welch (1947) and Satterthwaite (1946). The 95 % interval and the
p-value are those of Student's distribution for the same t and df: the interval leaves out 0 where
p < .05, and nowhere else. They describe what other seeds would give on the same tasks.

On request, an interval also describes what other tasks of the same kind would give. The tasks of
a pattern are then taken as a sample: the variance of their scores over their number is added, with
the degrees of freedom of the number of tasks minus one.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cab.scores.summary import student_t95

SMALLEST = 1e-12
"""Differences below it are roundings, where nothing scatters."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in the unit of its point."""

    low: float
    high: float

    def leaves_out(self, value: float) -> bool:
        """Whether a value lies outside."""
        return not self.low <= value <= self.high

    def cut(self, reach: "Interval", point: float) -> "Interval":
        """The part of it that lies within reach; it keeps its point in any case."""
        low = max(self.low, min(reach.low, point))
        return Interval(low, min(self.high, max(reach.high, point)))


ANYWHERE = Interval(-math.inf, math.inf)


@dataclass(frozen=True)
class Part:
    """One mean over seeds in a sum: its weight, its variance, its degrees of freedom.

    The variance is that of the mean; it is None where there is a single seed.
    """

    weight: float
    variance: float | None
    degrees: int


@dataclass(frozen=True)
class Estimated:
    """A sum of means over seeds.

    parts holds the means by task and entry, so that a mean that two estimates share cancels in
    their difference. strata holds the tasks of each pattern with what each of them would add to
    the point if it stood for all of them. reach holds the possible values (an accuracy is at most
    1); no interval reaches beyond them.
    """

    point: float
    parts: Mapping[tuple[str, str], Part]
    strata: Mapping[tuple[str, ...], tuple[float, ...]] = field(default_factory=dict)
    reach: Interval = ANYWHERE

    def interval(self, tasks: bool = False) -> Interval | None:
        """The 95 % interval over seeds, or over seeds and tasks, within reach.

        None where a mean rests on one seed: nothing is known of its scatter.
        """
        shares = self._shares()
        if shares is None:
            return None
        if tasks:
            shares += [
                (statistics.variance(values) / len(values), len(values) - 1)
                for values in self.strata.values()
            ]
        variance, degrees = _pooled(shares)
        half = student_t95(degrees) * math.sqrt(variance) if variance else 0.0
        return Interval(self.point - half, self.point + half).cut(self.reach, self.point)

    def p_value(self) -> float | None:
        """The two-sided p-value of the hypothesis that the sum is 0, over seeds.

        Without any scatter it is 1 for a sum of 0, else 0; None where a mean rests on one seed.
        """
        shares = self._shares()
        if shares is None:
            return None
        variance, degrees = _pooled(shares)
        if not variance:
            return 1.0 if abs(self.point) < SMALLEST else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(degrees, -abs(self.point) / math.sqrt(variance)))

    def differs_from_zero(self, tasks: bool = False) -> bool:
        """Whether its 95 % interval leaves out 0."""
        interval = self.interval(tasks)
        if interval is None:
            return False
        return abs(self.point) >= SMALLEST and interval.leaves_out(0)

    def minus(self, other: "Estimated") -> "Estimated":
        """The difference of two estimates; what they share cancels."""
        return weighted(((1.0, self), (-1.0, other)), self.point - other.point)

    def _shares(self) -> list[tuple[float, int]] | None:
        found = []
        for part in self.parts.values():
            if part.variance is None:
                return None
            found.append((part.weight**2 * part.variance, part.degrees))
        return found


def _pooled(shares: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The sum of variances and its degrees of freedom, from each variance and its own."""
    total = math.fsum(share for share, _ in shares)
    if total <= 0:
        return 0.0, 1.0
    # Shares are taken of the total first: squares of tiny variances would be lost.
    return total, 1 / math.fsum((share / total) ** 2 / n for share, n in shares)


def mean_over_seeds(
    task: str, entry: str, values: Sequence[float], reach: Interval = ANYWHERE
) -> Estimated:
    """The mean of an entry's seeds on a task.

    Args:
        task: names the mean, together with `entry`.
        entry: see there.
        values: one test mean per seed.
        reach: the metric's range, see `cab.scores.ranges`.
    """
    n = len(values)
    variance = statistics.variance(values) / n if n > 1 else None
    parts = {(task, entry): Part(1.0, variance, n - 1)}
    return Estimated(math.fsum(values) / n, parts, reach=reach)


def weighted(parts: Sequence[tuple[float, Estimated]], point: float) -> Estimated:
    """A weighted sum of estimates, whose point is given."""
    merged: dict[tuple[str, str], Part] = {}
    strata: dict[tuple[str, ...], tuple[float, ...]] = {}
    for weight, one in parts:
        for key, part in one.parts.items():
            before = merged[key].weight if key in merged else 0.0
            merged[key] = Part(before + weight * part.weight, part.variance, part.degrees)
        for names, values in one.strata.items():
            sums = strata.get(names, (0.0,) * len(values))
            strata[names] = tuple(b + weight * v for b, v in zip(sums, values, strict=True))
    ends = [sorted((w * one.reach.low, w * one.reach.high)) for w, one in parts if w]
    reach = Interval(math.fsum(low for low, _ in ends), math.fsum(high for _, high in ends))
    return Estimated(point, merged, strata, reach)


def mean_over_tasks(pattern: str, by_task: Mapping[str, Estimated]) -> Estimated:
    """The mean of a pattern's tasks, which weigh the same."""
    names = sorted(by_task)
    points = tuple(by_task[name].point for name in names)
    parts = [(1 / len(names), by_task[name]) for name in names]
    flat = weighted(parts, math.fsum(points) / len(names))
    return replace(flat, strata={(pattern, *names): points}) if len(names) > 1 else flat
