"""The crossover length: from this length on, a mechanism costs less than a baseline."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cab.measure.record import BenchRow
from cab.measure.statistics import Ratio

Quantity = Literal["time", "memory"]
Verdict = Literal["from", "always", "beyond", "never", "unclear"]
FINE = 1.15
"""Bisection ends when the bracketing lengths differ by less than this factor."""
FALLING = 0.95
"""A crossing beyond the grid is expected only if the last doubling lowers the ratio to this
share."""


@dataclass(frozen=True)
class Crossover:
    """A crossover length, with every ratio that was measured to find it.

    Attributes:
        verdict: from, the mechanism costs less from `length` on; always, it costs less at every
            measured length; beyond, it costs more at the longest length, but the ratio falls;
            never, it costs more there and the ratio does not fall; unclear, the difference at the
            longest length is within noise.
        low: the longest length at which the mechanism costs significantly more.
        high: the length from which on it costs significantly less.
        ratios: cost divided by the baseline's cost, by length.
    """

    verdict: Verdict
    length: float | None
    low: int | None
    high: int | None
    ratios: Mapping[int, Ratio] = field(default_factory=dict)

    def words(self) -> str:
        """Return the verdict as text for a table."""
        longest = max(self.ratios)
        counted = self.ratios[longest].low == self.ratios[longest].high
        if self.verdict == "from":
            return f"{self.length:,.0f} ({self.low or 0:,} to {self.high or 0:,})"
        return {
            "always": f"<= {min(self.ratios):,}",
            "beyond": f"> {longest:,}",
            "never": f"never (up to {longest:,}, not catching up)",
            "unclear": f"equal at {longest:,}" + ("" if counted else ", within noise"),
        }[self.verdict]

    def brief(self) -> str:
        """Return the verdict as a shorter text, for a table that shows the measured lengths."""
        few = {"never": "never", "unclear": "equal"}
        return few.get(self.verdict) or self.words().replace("<=", "\u2264")


def find_crossover(
    measure: Callable[[int], Ratio], shortest: int, longest: int, multiple: int = 64
) -> Crossover:
    """Bisect for the length at which the ratio falls below 1.

    Args:
        measure: returns the mechanism's cost divided by the baseline's, at a length.
        shortest: the first length, in tokens.
        longest: the last length, in tokens.
        multiple: lengths between them are multiples of this.

    A single crossing is assumed. All measured ratios are kept, so that a second one can be seen.
    """
    ratios: dict[int, Ratio] = {}

    def at(length: int) -> Ratio:
        if length not in ratios:
            ratios[length] = measure(length)
        return ratios[length]

    if at(longest).below_one is False:
        at(max(shortest, longest // 2))
    elif at(longest).below_one and not at(shortest).below_one:
        low, high = shortest, longest
        while high / low > FINE:
            middle = round(math.sqrt(low * high) / multiple) * multiple
            if not low < middle < high:
                break
            if at(middle).value < 1:
                high = middle
            else:
                low = middle
    return read_crossover(ratios)


def read_crossover(ratios: Mapping[int, Ratio]) -> Crossover:
    """Read the crossover length off the ratios at some lengths (at least one).

    Between two lengths the logarithm of the ratio is interpolated linearly in the log length.
    """
    lengths = sorted(ratios)
    shortest, longest = lengths[0], lengths[-1]
    if ratios[longest].below_one is None:
        return Crossover("unclear", None, None, None, ratios)
    if ratios[longest].below_one is False:
        # A single length shows no trend.
        falls = len(lengths) == 1 or _falls(lengths[-2], longest, ratios)
        return Crossover("beyond" if falls else "never", None, longest, None, ratios)
    if all(ratios[length].below_one for length in lengths):
        return Crossover("always", float(shortest), None, shortest, ratios)
    above = [place for place, length in enumerate(lengths) if ratios[length].value >= 1]
    crossing = float(shortest)
    if above:
        crossing = _between(lengths[above[-1]], lengths[above[-1] + 1], ratios)
    return Crossover("from", crossing, *_bounds(ratios), ratios)


def side_by_side(
    rows: Iterable[BenchRow], mechanism: str, baseline: str, quantity: Quantity
) -> dict[int, Ratio]:
    """Return time or memory divided by a baseline's in the same process, by length.

    The latest of several measurements at a length counts. Memory is counted, so it has no
    interval.
    """
    found = {}
    for row in sorted(rows, key=lambda row: row.measured):
        one = row.against.get(baseline) if row.subject == mechanism else None
        if one is not None and quantity == "time":
            found[row.length] = Ratio(one.time, one.low, one.high)
        elif one is not None and one.memory is not None:
            found[row.length] = Ratio(one.memory, one.memory, one.memory)
    return found


def _falls(before: int, longest: int, ratios: Mapping[int, Ratio]) -> bool:
    """Return whether the ratio falls by more than noise with each doubling of the length."""
    doublings = math.log2(longest / before)
    return ratios[longest].value < FALLING**doublings * ratios[before].value


def _between(low: int, high: int, ratios: Mapping[int, Ratio]) -> float:
    """Return where the line through both log ratios, over the log length, is 0."""
    a, b = math.log(ratios[low].value), math.log(ratios[high].value)
    share = 0.5 if a == b else min(1.0, max(0.0, a / (a - b)))
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def _bounds(ratios: Mapping[int, Ratio]) -> tuple[int, int]:
    """Return the bounds of a crossover length.

    They are the longest length with a ratio significantly above 1 (otherwise the shortest length),
    and the length from which on every ratio is significantly below 1.
    """
    lengths = sorted(ratios)
    above = [n for n in lengths if ratios[n].below_one is False]
    low = max(above, default=lengths[0])
    tail = [n for n in lengths if all(ratios[m].below_one is True for m in lengths if m >= n)]
    return low, min(tail)
