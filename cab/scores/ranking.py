"""Ranks of a board's rows: among equal coverage, and within each pattern."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from cab.profiles import SEEDS_FOR_A_RANK
from cab.scores.rows import BoardRow
from cab.scores.ties import Place, rank_ties
from cab.taxonomy import Pattern


def seeds_of(row: BoardRow, tasks: Iterable[str]) -> int:
    """The least number of seeds that ended well on some tasks."""
    return min((len(row.results[task].values) for task in tasks), default=0)


def rank(
    rows: Sequence[BoardRow], of_pattern: Mapping[Pattern, set[str]], together: bool
) -> tuple[BoardRow, ...]:
    """Rows in the board's order, with ranks within equal coverage and within each pattern.

    A pattern ranks the entries that have results on all of its tasks. No entry is ranked
    if the reference or `none` has too few seeds, or if there is no other entry to compare with.
    """
    ends = [row for row in rows if row.role in ("reference", "no_attention")]
    entries = [row for row in rows if row.role == "entry" and row.score is not None]
    why = {row.entry: _obstacle(row, row.coverage.tasks, ends) for row in entries}
    places: dict[str, Place] = {}
    for coverage in {row.coverage.tasks for row in entries}:
        alike = [row for row in entries if together or row.coverage.tasks == coverage]
        equal = {row.entry: row.score for row in alike if row.score and not why[row.entry]}
        if len(equal) > 1:
            places |= rank_ties(equal)
        for entry in equal if len(equal) == 1 else ():
            parts = [] if together else ["this coverage"]
            parts += [f"{SEEDS_FOR_A_RANK} seeds"] if len(alike) > 1 else []
            why[entry] = " with ".join(filter(None, ("the only entry", " and ".join(parts))))
    by_pattern: dict[str, dict[Pattern, Place]] = {}
    why_in: dict[str, dict[Pattern, str]] = {}
    for pattern, needed in of_pattern.items():
        alike = [row for row in entries if pattern in row.patterns]
        found = {row.entry: _obstacle(row, needed, ends) for row in alike}
        whole = {row.entry: row.patterns[pattern] for row in alike if not found[row.entry]}
        for entry, place in rank_ties(whole).items() if len(whole) > 1 else ():
            by_pattern.setdefault(entry, {})[pattern] = place
        for entry in whole if len(whole) == 1 else ():
            found[entry] = f"the only entry with {SEEDS_FOR_A_RANK} seeds on every task"
        for entry, reason in found.items():
            why_in.setdefault(entry, {})[pattern] = reason
    placed = [
        replace(
            row,
            place=places.get(row.entry),
            places=by_pattern.get(row.entry, {}),
            unranked=why.get(row.entry, ""),
            unranked_in={p: text for p, text in why_in.get(row.entry, {}).items() if text},
        )
        for row in rows
    ]
    return tuple(sorted(placed, key=lambda row: _order(row, together)))


def _obstacle(row: BoardRow, needed: Collection[str], ends: Iterable[BoardRow]) -> str:
    """Why an entry has no rank on some tasks; empty if it has one."""
    have = len(set(row.coverage.tasks) & set(needed))
    if have < len(needed):
        return f"results on {have} of {len(needed)} tasks"
    for one in (row, *ends):
        seeds = seeds_of(one, needed)
        if seeds < SEEDS_FOR_A_RANK:
            whose = "" if one is row else f" of {one.entry}"
            count = f"{seeds} seed{'' if seeds == 1 else 's'}{whose}"
            return f"{count}, a rank needs {SEEDS_FOR_A_RANK}"
    return ""


def _order(row: BoardRow, together: bool) -> tuple[object, ...]:
    coverage = row.coverage
    # Rows of one coverage stand together, the widest first.
    place = (-len(coverage.patterns), -len(coverage.tasks), coverage.patterns, coverage.tasks)
    score = -row.score.point if row.score is not None else 0.0
    return (row.score is None, () if together else place, score, row.entry)
