"""Ranks as tie groups: who is not significantly worse than a group's first shares its rank."""

from collections.abc import Mapping
from dataclasses import dataclass

from cab.scores.drawn import Drawn

RESOLUTION = 0.005
"""Scores that look equal when printed share a rank, even if no interval separates them."""


@dataclass(frozen=True)
class Place:
    """A rank, and the entries that share it, best first."""

    rank: int
    group: tuple[str, ...]

    @property
    def shared(self) -> bool:
        """Whether several entries have it."""
        return len(self.group) > 1

    def __str__(self) -> str:
        """Return `3`, or `3=` if it is shared."""
        return f"{self.rank}{'=' if self.shared else ''}"


def rank_ties(scores: Mapping[str, Drawn]) -> dict[str, Place]:
    """Give each entry its place.

    A group starts at the best remaining entry and includes the following ones until the first
    that is significantly worse on these tasks: the 95 % interval of the difference over seeds
    leaves out 0, and the difference is visible in two decimals. A group's rank is one
    more than the number of entries before it. The intervals are not corrected for the number of
    comparisons.
    """
    order = sorted(scores, key=lambda entry: (-scores[entry].point, entry))
    found: dict[str, Place] = {}
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and not _parted(scores[order[start]], scores[order[stop]]):
            stop += 1
        group = tuple(order[start:stop])
        found |= dict.fromkeys(group, Place(start + 1, group))
        start = stop
    return found


def _parted(one: Drawn, other: Drawn) -> bool:
    gap = one.minus(other)
    return gap.point >= RESOLUTION and gap.told_from_zero(tasks=False)
