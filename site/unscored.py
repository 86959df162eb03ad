"""Entries that have results and no score, and why."""

from collections.abc import Iterable
from dataclasses import replace

from cab.scores.missing import Missing
from cab.scores.rows import BoardRow
from cab.site.content import Content, ProfileContent


def without_score(
    content: Content, one: ProfileContent, variant: str | None = None
) -> list[tuple[str, list[BoardRow]]]:
    """Entries without a score, of one variant if it is named, by the reason."""
    reasons: dict[str, list[BoardRow]] = {}
    for row in one.board.rows:
        if row.score is None and variant in (None, row.variant):
            reasons.setdefault(_reason(content, one, row), []).append(row)
    return sorted(reasons.items())


def _reason(content: Content, one: ProfileContent, row: BoardRow) -> str:
    absent = {task for missing in one.board.missing for task in missing.tasks}
    results = row.results.items()
    if any(task in absent and result.mean is not None for task, result in results):
        return (
            f"No score, because {content.reference} or {content.zero} has no result on the same "
            f"tasks"
        )
    scored = {name for name, card in content.tasks.items() if card.scored_in(one.profile)}
    if any(task in scored and result.mean is None for task, result in results):
        return "No seed finished on a scored task"
    return "Results only on tasks that are not scored"


def missing_of(one: ProfileContent, tasks: Iterable[str]) -> list[Missing]:
    """The references that are missing on some of a board's tasks."""
    asked = set(tasks)
    found = [
        replace(missing, tasks=tuple(task for task in missing.tasks if task in asked))
        for missing in one.board.missing
    ]
    return [missing for missing in found if missing.tasks]
