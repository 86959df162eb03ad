"""Efficiency length by bisection: from which length on a mechanism is cheaper than a baseline."""

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
        counted = self.ratios[longest].low == self.ratios[longest].high
        if self.verdict == "from":
            return f"{self.length:,.0f} ({self.low or 0:,} to {self.high or 0:,})"
        return {
            "always": f"<= {min(self.ratios):,}",
            "beyond": f"> {longest:,}",
            "never": f"never (up to {longest:,}, the ratio no longer falls)",
            "unclear": f"equal at {longest:,}" + ("" if counted else ", within noise"),
        }[self.verdict]

    def brief(self) -> str:
        """The answer where many stand beside each other, in a table that says its lengths."""
        few = {"never": "never", "unclear": "equal"}
        return few.get(self.verdict) or self.words().replace("<=", "\u2264")


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

    if at(longest).cheaper is False:
        at(max(shortest, longest // 2))
    elif at(longest).cheaper and not at(shortest).cheaper:
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
    """From which length on the mechanism is cheaper, by its ratios at some lengths (at least one).

    Between two of them the ratio is a straight line in log-log.
    """
    lengths = sorted(ratios)
    shortest, longest = lengths[0], lengths[-1]
    if ratios[longest].cheaper is None:
        return Crossover("unclear", None, None, None, ratios)
    if ratios[longest].cheaper is False:
        # One length shows no trend.
        falls = len(lengths) == 1 or _falls(lengths[-2], longest, ratios)
        return Crossover("beyond" if falls else "never", None, longest, None, ratios)
    if all(ratios[length].cheaper for length in lengths):
        return Crossover("always", float(shortest), None, shortest, ratios)
    dearer = [place for place, length in enumerate(lengths) if ratios[length].value >= 1]
    crossing = float(shortest)
    if dearer:
        crossing = _between(lengths[dearer[-1]], lengths[dearer[-1] + 1], ratios)
    return Crossover("from", crossing, *_surely(ratios), ratios)


def side_by_side(
    rows: Iterable[BenchRow], subject: str, baseline: str, quantity: Quantity
) -> dict[int, Ratio]:
    """How many times a baseline's time or bytes a subject took in the same process, by length.

    Of several measurements at a length the last counts. Bytes are counted: nothing is uncertain.
    """
    found = {}
    for row in sorted(rows, key=lambda row: row.measured):
        one = row.against.get(baseline) if row.subject == subject else None
        if one is not None and quantity == "time":
            found[row.length] = Ratio(one.time, one.low, one.high)
        elif one is not None and one.memory is not None:
            found[row.length] = Ratio(one.memory, one.memory, one.memory)
    return found


def _falls(before: int, longest: int, ratios: Mapping[int, Ratio]) -> bool:
    """Whether the ratio falls by more than noise for each doubling of the length."""
    doublings = math.log2(longest / before)
    return ratios[longest].value < FALLING**doublings * ratios[before].value


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
