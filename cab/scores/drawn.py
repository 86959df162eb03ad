r"""Intervals: a stratified bootstrap over seeds and tasks, kept as deviations from a point.

A score is a weighted sum of means over seeds, one mean per task and entry. Each mean is drawn by
resampling its own seeds (a stratum is a task of an entry): what other seeds would do on these
tasks. A pattern's tasks are resampled among themselves: what other tasks of the kind would do.
Draws come from generators keyed by what is drawn, so a mean that two scores share (the
reference's, say) is drawn alike in both and cancels in their difference, and what another entry
did changes nothing.

Resampling n values understates the variance of their mean by (n - 1) / n; deviations are
multiplied by sqrt(n / (n - 1)). With few values the variance itself is uncertain: deviations are
widened by t / z, the quantile of Student's t over that of the normal, with the degrees of freedom
of Welch (1947) and Satterthwaite (1946) for a sum of means,

    df = (\sum_i c_i)^2 / \sum_i c_i^2 / (n_i - 1),   c_i = (weight_i s_i)^2 / n_i,

those of seeds by the seeds of each task, those of tasks by the tasks of each pattern. For one
task that is near Student's own interval, for two seeds 30 % narrower than it (draws of two values
know no tails); over many tasks the widening tends to 1.
"""

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from scipy.stats import norm

from cab.scores.summary import student_t95

REPLICATES = 2000
Z95 = float(norm.ppf(0.975))

Draws = NDArray[np.float64]


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
    """One mean over seeds in a sum: its weight, the variance of the mean, its degrees."""

    weight: float
    variance: float
    degrees: int


@dataclass(frozen=True)
class Drawn:
    """A point and how far resampling moves it: other seeds, and other tasks.

    by_seeds is None where a mean rests on one seed: then nothing is known of its spread. parts
    names the means over seeds in it; strata the tasks that were resampled among themselves, with
    what each would add to the point if it stood for all of them. reach holds the values that are
    possible at all (an accuracy is at most 1), and no interval reaches beyond them.
    """

    point: float
    by_seeds: Draws | None
    by_tasks: Draws
    parts: Mapping[tuple[str, str], Part]
    strata: Mapping[tuple[str, ...], tuple[float, ...]]
    reach: Interval = ANYWHERE

    def interval(self, tasks: bool = True) -> Interval | None:
        """The percentile interval over seeds, and over tasks unless told not to, within reach."""
        if self.by_seeds is None:
            return None
        seeds = [(part.weight**2 * part.variance, part.degrees) for part in self.parts.values()]
        draws = self.point + _widening(seeds) * self.by_seeds
        if tasks:
            chosen = [
                (statistics.variance(values) / len(values), len(values) - 1)
                for values in self.strata.values()
            ]
            draws = draws + _widening(chosen) * self.by_tasks
        low, high = np.quantile(draws, (0.025, 0.975))
        return Interval(float(low), float(high)).cut(self.reach, self.point)

    def told_from_zero(self, tasks: bool = True) -> bool:
        """Whether its 95 % interval leaves out 0: whether a difference is significant."""
        interval = self.interval(tasks)
        return interval is not None and interval.leaves_out(0)

    def minus(self, other: "Drawn") -> "Drawn":
        """The difference of two scores; what they share cancels."""
        return weighted(((1.0, self), (-1.0, other)), self.point - other.point)


def _widening(shares: Sequence[tuple[float, int]]) -> float:
    """Student's quantile over that of the normal, for a sum of (variance, degrees)."""
    total = math.fsum(share for share, _ in shares)
    if total <= 0:
        return 1.0
    # Shares are taken of the total first: squares of tiny variances would be lost.
    degrees = 1 / math.fsum((share / total) ** 2 / n for share, n in shares)
    return student_t95(degrees) / Z95


def keyed_generator(*names: str) -> Generator:
    """A generator that depends on these names and on nothing else."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))


def constant(value: float) -> Drawn:
    """A number that is known, such as a chance level."""
    none = np.zeros(REPLICATES)
    return Drawn(value, none, none, {}, {}, Interval(value, value))


def mean_over_seeds(
    task: str, entry: str, values: Sequence[float], reach: Interval = ANYWHERE
) -> Drawn:
    """The mean of an entry's seeds on a task, resampled by seed.

    Args:
        task: with `entry` the key of the draws.
        entry: see there.
        values: one test mean per seed, sorted by seed.
        reach: the metric's range, see `cab.scores.ranges`.
    """
    point, n = math.fsum(values) / len(values), len(values)
    if n < 2:
        return Drawn(point, None, np.zeros(REPLICATES), {}, {}, reach)
    picks = keyed_generator("seeds", task, entry).integers(n, size=(REPLICATES, n))
    deviations = np.asarray(values, dtype=np.float64) - point
    draws = deviations[picks].mean(axis=1) * math.sqrt(n / (n - 1))
    part = Part(1.0, statistics.variance(values) / n, n - 1)
    return Drawn(point, draws, np.zeros(REPLICATES), {(task, entry): part}, {}, reach)


def weighted(parts: Sequence[tuple[float, Drawn]], point: float) -> Drawn:
    """A sum of independent or shared means to first order around a given point.

    Its reach is the sum of theirs, which is right where the sum itself is meant, and not only its
    first order.
    """
    merged: dict[tuple[str, str], Part] = {}
    strata: dict[tuple[str, ...], tuple[float, ...]] = {}
    seeds: Draws | None = np.zeros(REPLICATES)
    tasks = np.zeros(REPLICATES)
    for weight, drawn in parts:
        for key, part in drawn.parts.items():
            before = merged[key].weight if key in merged else 0.0
            merged[key] = Part(before + weight * part.weight, part.variance, part.degrees)
        for names, values in drawn.strata.items():
            sums = strata.get(names, (0.0,) * len(values))
            strata[names] = tuple(b + weight * v for b, v in zip(sums, values, strict=True))
        if seeds is not None:
            seeds = None if drawn.by_seeds is None else seeds + weight * drawn.by_seeds
        tasks = tasks + weight * drawn.by_tasks
    ends = [sorted((w * d.reach.low, w * d.reach.high)) for w, d in parts if w]
    reach = Interval(math.fsum(low for low, _ in ends), math.fsum(high for _, high in ends))
    return Drawn(point, seeds, tasks, merged, strata, reach)


def mean_over_tasks(pattern: str, by_task: Mapping[str, Drawn]) -> Drawn:
    """The mean of a pattern's tasks, which are resampled as well as their seeds.

    One task alone cannot be resampled: its interval speaks of seeds only.
    """
    names = sorted(by_task)
    k = len(names)
    points = np.array([by_task[name].point for name in names])
    flat = weighted([(1 / k, by_task[name]) for name in names], math.fsum(points) / k)
    if k < 2:
        return flat
    picks = keyed_generator("tasks", pattern, *names).integers(k, size=(REPLICATES, k))
    moved = math.sqrt(k / (k - 1)) * (points[picks].mean(axis=1) - flat.point)
    return replace(flat, by_tasks=moved, strata={(pattern, *names): tuple(points.tolist())})
