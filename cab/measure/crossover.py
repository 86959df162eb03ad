"""Efficiency length by bisection: from which length on a mechanism is cheaper than a baseline."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cab.measure.statistics import Ratio

Verdict = Literal["from", "always", "beyond", "never", "unclear"]
FINE = 1.15
"""Bisection ends when the bracketing lengths differ by less than this factor."""
FALLING = 0.95
"""Beyond the grid a crossing is expected only if the ratio still falls over the last doubling."""


@dataclass(frozen=True)
class Crossover:
    """What was found, with every ratio that was measured on the way.

    from: cheaper from `length` on, which lies between `low` (the longest length surely dearer)
    and `high` (the shortest surely cheaper). always: cheaper at the shortest length already.
    beyond: dearer at the longest, with a falling ratio; never: with one that no longer falls.
    unclear: at the longest length the difference is within the noise.
    """

    verdict: Verdict
    length: float | None
    low: int | None
    high: int | None
    ratios: Mapping[int, Ratio] = field(default_factory=dict)

    def words(self) -> str:
        """The answer, as it stands in a table."""
        longest = max(self.ratios)
        if self.verdict == "from":
            return f"{self.length:,.0f} ({self.low or 0:,} to {self.high or 0:,})"
        return {
            "always": f"<= {min(self.ratios):,}",
            "beyond": f"> {longest:,}",
            "never": f"never (up to {longest:,}, the ratio no longer falls)",
            "unclear": f"equal at {longest:,}, within noise",
        }[self.verdict]


def find_crossover(
    measure: Callable[[int], Ratio], shortest: int, longest: int, multiple: int = 64
) -> Crossover:
    """Bisect for the length at which the ratio falls below 1.

    measure gives mechanism over baseline at a length, with an interval. One crossing is assumed;
    all that was measured is kept, so that a second one shows. Lengths between are multiples of
    `multiple`.
    """
    ratios: dict[int, Ratio] = {}

    def at(length: int) -> Ratio:
        if length not in ratios:
            ratios[length] = measure(length)
        return ratios[length]

    if at(longest).cheaper is not True:
        if at(longest).cheaper is None:
            return Crossover("unclear", None, None, None, ratios)
        before = at(max(shortest, longest // 2)).value
        falls = longest > shortest and at(longest).value < FALLING * before
        return Crossover("beyond" if falls else "never", None, longest, None, ratios)
    if at(shortest).cheaper is True:
        return Crossover("always", float(shortest), None, shortest, ratios)
    low, high = shortest, longest
    while high / low > FINE:
        middle = round(math.sqrt(low * high) / multiple) * multiple
        if not low < middle < high:
            break
        if at(middle).value < 1:
            high = middle
        else:
            low = middle
    return Crossover("from", _between(low, high, ratios), *_surely(ratios), ratios)


def _between(low: int, high: int, ratios: Mapping[int, Ratio]) -> float:
    """Where the straight line through both log ratios, over the log length, meets 0."""
    a, b = math.log(ratios[low].value), math.log(ratios[high].value)
    share = 0.5 if a == b else min(1.0, max(0.0, a / (a - b)))
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def _surely(ratios: Mapping[int, Ratio]) -> tuple[int, int]:
    """The longest length that is surely dearer (else the shortest), the shortest of the tail
    that is surely cheaper."""
    lengths = sorted(ratios)
    dearer = [n for n in lengths if ratios[n].cheaper is False]
    low = max(dearer, default=lengths[0])
    tail = [n for n in lengths if all(ratios[m].cheaper is True for m in lengths if m >= n)]
    return low, min(tail)
