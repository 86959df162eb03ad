"""Rank sets of a board's rows: within each pattern, and among equal coverage."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from cab.scores.estimates import Estimated
from cab.scores.rank_sets import RankSet, rank_sets
from cab.scores.rows import RANKED_ROLES, BoardRow
from cab.taxonomy import Pattern


def rankable(
    rows: Sequence[BoardRow], pattern: Pattern, needed: set[str]
) -> tuple[dict[str, Estimated], dict[str, str]]:
    """The scores that a pattern ranks, and why the other entries have no rank set.

    Args:
        rows: the rows of the board.
        pattern: the pattern.
        needed: its scored tasks, on all of which an entry needs complete results.
    """
    alike = [row for row in rows if row.role in RANKED_ROLES and pattern in row.patterns]
    why = {row.entry: text for row in alike if (text := row.obstacle(needed))}
    return {row.entry: row.patterns[pattern] for row in alike if row.entry not in why}, why


def rank(rows: Sequence[BoardRow], of_pattern: Mapping[Pattern, set[str]]) -> tuple[BoardRow, ...]:
    """Rows in the board's order, with rank sets within each pattern and within equal coverage.

    Whoever has complete results on all scored tasks of a pattern is ranked there. The score over
    patterns is ranked among entries with complete results in the same patterns, and in no other.
    """
    sets: dict[str, dict[Pattern, RankSet]] = {row.entry: {} for row in rows}
    why_in: dict[str, dict[Pattern, str]] = {row.entry: {} for row in rows}
    for pattern, needed in of_pattern.items():
        scores, why = rankable(rows, pattern, needed)
        if len(scores) == 1:
            why |= dict.fromkeys(scores, _alone("complete results in this pattern"))
        for entry, found in rank_sets(scores).items() if len(scores) > 1 else ():
            sets[entry][pattern] = found
        for entry, text in why.items():
            why_in[entry][pattern] = text
    whole: dict[tuple[Pattern, ...], dict[str, Estimated]] = {}
    why_not: dict[str, str] = {}
    for row in rows:
        if row.role not in RANKED_ROLES or row.score is None:
            continue
        needed = set().union(*(of_pattern[pattern] for pattern in row.patterns))
        if text := row.obstacle(needed):
            why_not[row.entry] = text
        else:
            whole.setdefault(row.coverage.patterns, {})[row.entry] = row.score
    overall: dict[str, RankSet] = {}
    for scores in whole.values():
        if len(scores) > 1:
            overall |= rank_sets(scores)
        else:
            why_not |= dict.fromkeys(scores, _alone("complete results in these patterns"))
    placed = [
        replace(
            row,
            ranks=overall.get(row.entry),
            ranks_in=sets[row.entry],
            unranked=why_not.get(row.entry, ""),
            unranked_in=why_in[row.entry],
        )
        for row in rows
    ]
    return tuple(sorted(placed, key=_order))


def _alone(what: str) -> str:
    return f"the only entry with {what}"


def incomplete(row: BoardRow, tasks: Collection[str]) -> bool:
    """Whether results of an entry on some of its tasks are trials, or lack failed seeds."""
    ran = [task for task in tasks if task in row.results]
    failed = any(row.results[task].failures for task in ran)
    return row.role in RANKED_ROLES and (failed or any(row.results[task].trial for task in ran))


def _order(row: BoardRow) -> tuple[object, ...]:
    coverage = row.coverage
    # Rows of one coverage stand together, the widest first; incomplete results come last.
    place = (-len(coverage.patterns), -len(coverage.tasks), coverage.patterns, coverage.tasks)
    score = -row.score.point if row.score is not None else 0.0
    return (row.score is None, place, incomplete(row, coverage.tasks), score, row.entry)
