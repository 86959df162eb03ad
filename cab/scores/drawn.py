r"""Intervals: a stratified bootstrap over seeds and tasks, kept as deviations from a point.

A score is a weighted sum of means over seeds, one mean per task and entry. Each mean is drawn by
resampling its own seeds (a stratum is a task of an entry); a pattern's tasks are resampled among
themselves. Draws come from generators keyed by what is drawn, so a mean that two scores share (the
reference's, say) is drawn alike in both and cancels in their difference, and what another entry
did changes nothing.

Resampling n values understates the variance of their mean by (n - 1) / n; deviations are
multiplied by sqrt(n / (n - 1)). With few seeds the variance itself is uncertain: the interval is
widened by t / z, the quantile of Student's t over that of the normal, with the degrees of freedom
of Welch (1947) and Satterthwaite (1946) for a sum of means,

    df = (\sum_i c_i)^2 / \sum_i c_i^2 / (n_i - 1),   c_i = (weight_i s_i)^2 / n_i.

For one task that is near Student's own interval, for two seeds 30 % narrower than it (draws of two
values know no tails); over many tasks the widening tends to 1.
"""

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Part:
    """One mean over seeds in a sum: its weight, the variance of the mean, its degrees."""

    weight: float
    variance: float
    degrees: int


@dataclass(frozen=True)
class Drawn:
    """A point and how far resampling moves it: `by_seeds`, and by seeds and tasks together.

    Both are None where a mean rests on one seed: then nothing is known of its spread.
    """

    point: float
    by_seeds: Draws | None
    by_all: Draws | None
    parts: Mapping[tuple[str, str], Part]

    def interval(self, tasks: bool = True) -> Interval | None:
        """The percentile interval over seeds, and over tasks unless told not to."""
        draws = self.by_all if tasks else self.by_seeds
        if draws is None:
            return None
        low, high = np.quantile(self.point + self._widening() * draws, (0.025, 0.975))
        return Interval(float(low), float(high))

    def minus(self, other: "Drawn") -> "Drawn":
        """The difference of two scores; what they share cancels."""
        parts = dict(self.parts)
        for key, part in other.parts.items():
            mine = parts[key].weight if key in parts else 0.0
            parts[key] = Part(mine - part.weight, part.variance, part.degrees)
        return Drawn(
            self.point - other.point,
            _difference(self.by_seeds, other.by_seeds),
            _difference(self.by_all, other.by_all),
            parts,
        )

    def _widening(self) -> float:
        shares = [(part.weight**2 * part.variance, part.degrees) for part in self.parts.values()]
        total = math.fsum(share for share, _ in shares)
        if total <= 0:
            return 1.0
        # Shares are taken of the total first: squares of tiny variances would be lost.
        degrees = 1 / math.fsum((share / total) ** 2 / n for share, n in shares)
        return student_t95(degrees) / Z95


def _difference(one: Draws | None, other: Draws | None) -> Draws | None:
    return None if one is None or other is None else one - other


def keyed_generator(*names: str) -> Generator:
    """A generator that depends on these names and on nothing else."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))


def constant(value: float) -> Drawn:
    """A number that is known, such as a chance level."""
    return Drawn(value, np.zeros(REPLICATES), np.zeros(REPLICATES), {})


def mean_over_seeds(task: str, entry: str, values: Sequence[float]) -> Drawn:
    """The mean of an entry's seeds on a task, resampled by seed.

    Args:
        task: with `entry` the key of the draws.
        entry: see there.
        values: one test mean per seed, sorted by seed.
    """
    point, n = math.fsum(values) / len(values), len(values)
    if n < 2:
        return Drawn(point, None, None, {})
    picks = keyed_generator("seeds", task, entry).integers(n, size=(REPLICATES, n))
    deviations = np.asarray(values, dtype=np.float64) - point
    draws = deviations[picks].mean(axis=1) * math.sqrt(n / (n - 1))
    part = Part(1.0, statistics.variance(values) / n, n - 1)
    return Drawn(point, draws, draws, {(task, entry): part})


def weighted(parts: Sequence[tuple[float, Drawn]], point: float) -> Drawn:
    """A sum of independent or shared means to first order around a given point."""
    merged: dict[tuple[str, str], Part] = {}
    for weight, drawn in parts:
        for key, part in drawn.parts.items():
            before = merged[key].weight if key in merged else 0.0
            merged[key] = Part(before + weight * part.weight, part.variance, part.degrees)
    return Drawn(
        point,
        _sum([(weight, drawn.by_seeds) for weight, drawn in parts]),
        _sum([(weight, drawn.by_all) for weight, drawn in parts]),
        merged,
    )


def _sum(parts: Sequence[tuple[float, Draws | None]]) -> Draws | None:
    total = np.zeros(REPLICATES)
    for weight, draws in parts:
        if draws is None:
            return None
        total = total + weight * draws
    return total


def mean_over_tasks(pattern: str, by_task: Mapping[str, Drawn]) -> Drawn:
    """The mean of a pattern's tasks; `by_all` resamples the tasks as well as their seeds.

    One task alone cannot be resampled: its interval speaks of seeds only.
    """
    names = sorted(by_task)
    k = len(names)
    point = math.fsum(by_task[name].point for name in names) / k
    flat = weighted([(1 / k, by_task[name]) for name in names], point)
    if k < 2 or flat.by_seeds is None:
        return flat
    picks = keyed_generator("tasks", pattern, *names).integers(k, size=(REPLICATES, k))
    counts = np.stack([(picks == task).mean(axis=1) for task in range(k)], axis=1)
    weights = 1 / k + math.sqrt(k / (k - 1)) * (counts - 1 / k)
    total = np.zeros(REPLICATES)
    for column, name in enumerate(names):
        one = by_task[name]
        assert one.by_seeds is not None
        total += weights[:, column] * (one.point + one.by_seeds)
    return Drawn(point, flat.by_seeds, total - point, flat.parts)
