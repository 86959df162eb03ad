"""Entries that have results and no score, and why."""

from cab.scores.rows import BoardRow
from cab.site.content import Content, ProfileContent


def without_score(
    content: Content, one: ProfileContent, variant: str | None = None
) -> list[tuple[str, list[BoardRow]]]:
    """Entries without a score, of one variant if it is named, by the reason."""
    reasons: dict[str, list[BoardRow]] = {}
    for row in one.board.rows:
        if row.score is None and variant in (None, row.variant):
            reasons.setdefault(_reason(one, row), []).append(row)
    return sorted(reasons.items())


def _reason(one: ProfileContent, row: BoardRow) -> str:
    scored = one.board.scales.keys() & row.results.keys()
    if scored and all(row.results[task].mean is None for task in scored):
        return "No seed finished on a scored task"
    return "Results only on tasks that are not scored"
