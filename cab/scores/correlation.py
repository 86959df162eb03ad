"""Correlations between patterns or tasks, with n and an interval, for enough entries."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from cab.scores.estimates import Interval

SMALLEST_N = 5
Z95 = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over n entries; r and interval are None where `refused` says why."""

    n: int
    r: float | None
    interval: Interval | None
    refused: str = ""


def correlate(one: Mapping[str, float], other: Mapping[str, float]) -> Correlation:
    r"""Correlate two columns over the entries that both have.

    The 95 % interval is Fisher's: atanh r ± 1.96 / sqrt(n - 3). Below n = 5 no value is
    given: two entries always correlate by ±1, as CAB's published ±1.00 between patterns.
    """
    shared = sorted(one.keys() & other.keys())
    n = len(shared)
    if n < SMALLEST_N:
        return Correlation(n, None, None, f"n = {n}: fewer than {SMALLEST_N} entries have both")
    x, y = ([column[entry] for entry in shared] for column in (one, other))
    if len(set(x)) == 1 or len(set(y)) == 1:
        return Correlation(n, None, None, "one column is constant")
    r = max(-1.0, min(1.0, statistics.correlation(x, y)))
    if abs(r) == 1:
        return Correlation(n, r, Interval(r, r))
    half = Z95 / math.sqrt(n - 3)
    return Correlation(
        n, r, Interval(math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))
    )
