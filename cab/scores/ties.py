"""Ranks as tie groups: who cannot be told from the best of a group shares its place."""

from collections.abc import Mapping
from dataclasses import dataclass

from cab.scores.drawn import Drawn

RESOLUTION = 0.005
"""Scores that are printed alike share a rank: seeds that agree leave no interval to part them."""


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

    The best entry opens a group, and takes in every entry, in order of scores, up to the first
    that it can be told from on these tasks: one whose difference from it has a 95 % interval, over
    seeds, without 0, and is seen in two decimals. That one opens the next group. A group's rank is
    one more than the number of entries before it. The intervals are not corrected for the number
    of comparisons.
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
