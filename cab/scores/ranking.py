"""Ranks of a board's rows: among equal coverage, and within each pattern."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cab.scores.rows import BoardRow
from cab.scores.ties import Place, rank_ties
from cab.taxonomy import Pattern

SEEDS_FOR_A_RANK = 3


def seeds_of(row: BoardRow, tasks: Iterable[str]) -> int:
    """The least number of seeds that ended well on some tasks."""
    return min((len(row.results[task].values) for task in tasks), default=0)


def rank(
    rows: Sequence[BoardRow], of_pattern: Mapping[Pattern, set[str]], together: bool
) -> tuple[BoardRow, ...]:
    """Rows in the board's order, with ranks within equal coverage and within each pattern.

    A pattern ranks the entries that have results on all of its tasks. Nothing is ranked on a
    scale whose own ends have too few seeds, and nobody who has nobody to be compared with.
    """
    ends = [row for row in rows if row.role in ("reference", "zero")]

    def enough(row: BoardRow, tasks: Iterable[str]) -> bool:
        return all(seeds_of(one, tasks) >= SEEDS_FOR_A_RANK for one in (row, *ends))

    entries = [row for row in rows if row.role == "entry" and row.score is not None]
    eligible = [row for row in entries if enough(row, row.coverage.tasks)]
    places: dict[str, Place] = {}
    for coverage in {row.coverage.tasks for row in eligible}:
        equal = [row for row in eligible if together or row.coverage.tasks == coverage]
        if len(equal) > 1:
            places |= rank_ties({row.entry: row.score for row in equal if row.score is not None})
    by_pattern: dict[str, dict[Pattern, Place]] = {}
    for pattern, needed in of_pattern.items():
        whole = {
            row.entry: row.patterns[pattern]
            for row in entries
            if needed and needed <= set(row.coverage.tasks) and enough(row, needed)
        }
        for entry, place in rank_ties(whole).items() if len(whole) > 1 else ():
            by_pattern.setdefault(entry, {})[pattern] = place
    placed = [
        replace(row, place=places.get(row.entry), places=by_pattern.get(row.entry, {}))
        for row in rows
    ]
    return tuple(sorted(placed, key=lambda row: _order(row, together)))


def _order(row: BoardRow, together: bool) -> tuple[object, ...]:
    coverage = row.coverage
    # Rows of one coverage stand together, the widest first.
    place = (-len(coverage.patterns), -len(coverage.tasks), coverage.patterns, coverage.tasks)
    score = -row.score.point if row.score is not None else 0.0
    return (row.score is None, () if together else place, score, row.entry)
