"""Rank sets: between which places an entry may stand, given how its seeds scatter."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from cab.scores.estimates import Estimated

LEVEL = 0.05
"""The probability with which any two entries of a list are wrongly said to differ."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class RankSet:
    """The ranks that one of n entries may have.

    best is 1 + the number that are significantly better, worst n - the number significantly worse.
    """

    best: int
    worst: int

    def __str__(self) -> str:
        """Return `2-5`, or `3` for a single rank."""
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


def rank_sets(scores: Mapping[str, Estimated]) -> dict[str, RankSet]:
    """Give each entry its rank set (Mogstad et al., 2024, Review of Economic Studies 91).

    One entry is significantly better than another if its score is higher and the difference is
    significant at `LEVEL` by Welch's test, corrected for the number of pairs by `holm`.

    Raises:
        ValueError: a score rests on one seed, so that it cannot be compared.
    """
    better, worse = dict.fromkeys(scores, 0), dict.fromkeys(scores, 0)
    for (one, other), p in corrected_p_values(scores).items():
        if p < LEVEL:
            ahead = scores[one].point > scores[other].point
            winner, loser = (one, other) if ahead else (other, one)
            better[loser] += 1
            worse[winner] += 1
    return {name: RankSet(1 + better[name], len(scores) - worse[name]) for name in scores}


def corrected_p_values(scores: Mapping[str, Estimated]) -> dict[tuple[str, str], float]:
    """The corrected p-value of each two entries' difference, by their names in sorted order.

    Raises:
        ValueError: a score rests on one seed, so that it cannot be compared.
    """
    found = {}
    for one, other in combinations(sorted(scores), 2):
        p = scores[one].minus(scores[other]).p_value()
        if p is None:
            raise ValueError(f"{one} or {other} has a single seed on a task")
        found[one, other] = p
    return holm(found)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Correct p-values for their number (Holm, 1979, Scandinavian Journal of Statistics 6).

    The smallest is multiplied by their number m, the next by m - 1, and so on; none is smaller
    than one before it, or larger than 1.
    """
    order = sorted(p_values, key=lambda key: p_values[key])
    corrected, largest = {}, 0.0
    for place, key in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[key]))
        corrected[key] = largest
    return corrected
