"""Statistics of timing samples: quantiles and intervals, without random numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """The median of some samples with its 95 % interval (low, high), and the spread p20, p80."""

    median: float
    low: float
    high: float
    p20: float
    p80: float
    samples: int


def summarise(samples: Sequence[float]) -> Summary:
    """Summarise samples.

    Raises:
        ValueError: there are no samples, or one is not finite.
    """
    if not samples or not all(map(math.isfinite, samples)):
        raise ValueError("A summary needs at least one sample, all of them finite.")
    ordered = sorted(samples)
    low, high = _bootstrap_interval(ordered)
    return Summary(
        quantile(ordered, 0.5),
        low,
        high,
        quantile(ordered, 0.2),
        quantile(ordered, 0.8),
        len(ordered),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, interpolated linearly (numpy's default)."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _bootstrap_interval(ordered: Sequence[float]) -> tuple[float, float]:
    low, high = _bootstrap_ranks(len(ordered))
    return ordered[low], ordered[high]


@lru_cache(maxsize=256)
def _bootstrap_ranks(n: int) -> tuple[int, int]:
    """Return the places, among n sorted values, of the percentile bootstrap of the median.

    A resample draws n values with replacement. Its r-th smallest is at most the k-th smallest of
    the sample exactly if at least r of the n draws fall on the k smallest, each of which does so
    with chance k / n. So the bootstrap distribution is binomial and needs no simulation (Efron,
    1979, "Bootstrap Methods: Another Look at the Jackknife", section 3):

        P(r-th of the resample <= x_(k)) = P(Binomial(n, k / n) >= r)

    For even n the median lies between the two middle ranks; the lower end takes the lower one,
    the upper end the upper one, so that the interval errs to the wide side.
    """
    tail = (1 - CONFIDENCE) / 2
    lower_rank, upper_rank = (n + 1) // 2, n // 2 + 1
    low = next(k for k in range(1, n + 1) if _at_least(n, k / n, lower_rank) > tail)
    high = next(k for k in range(1, n + 1) if _at_least(n, k / n, upper_rank) >= 1 - tail)
    return low - 1, high - 1


def _at_least(n: int, chance: float, successes: int) -> float:
    """P(Binomial(n, chance) >= successes), summed in logarithms."""
    if chance >= 1:
        return 1.0
    total = 0.0
    for k in range(successes, n + 1):
        choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        total += math.exp(choices + k * math.log(chance) + (n - k) * math.log1p(-chance))
    return total


@dataclass(frozen=True)
class Ratio:
    """A mechanism's time or memory divided by a baseline's, with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def below_one(self) -> bool | None:
        """Whether the ratio is significantly below 1; None if the interval contains 1."""
        if self.high < 1:
            return True
        return False if self.low > 1 else None


def paired_ratio(samples: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """Return the median ratio of samples that were taken side by side, round by round.

    Whatever slows the machine for a while slows both samples of a round, and cancels.
    """
    ratios = [a / b for a, b in zip(samples, baseline, strict=True)]
    summary = summarise(ratios)
    return Ratio(summary.median, summary.low, summary.high)


def noise_floor(samples: Sequence[float]) -> float:
    """Return the ratio of a mechanism to itself (A/A): odd rounds over even ones, at least 1.

    Smaller differences between two mechanisms are noise.
    """
    if len(samples) < 2:
        return 1.0
    odd, even = summarise(samples[1::2]).median, summarise(samples[0::2]).median
    return max(odd / even, even / odd)
