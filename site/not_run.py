"""Who is not in a list of entries, though it could be: so that no list reads as complete."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cab.running.fitting import refusal_of
from cab.site.content import Content, ProfileContent
from cab.taxonomy import TaskCard


@dataclass(frozen=True)
class NotRun:
    """Variants that could run on some tasks and have no result there, by name.

    never has no record there; outdated has records there, all of an older source of it or an
    older version of the task.
    """

    never: tuple[str, ...]
    outdated: tuple[str, ...]


def not_run(content: Content, one: ProfileContent, cards: Sequence[TaskCard]) -> NotRun:
    """The variants that offer one of some tasks and have a result on none of them."""
    tasks = {card.name for card in cards}
    offer = _offering(content, cards)
    shown = {row.variant for row in one.board.rows if tasks & row.results.keys()}
    ran = {r.variant.name for r in one.records.values() if r.task.name in tasks}
    return NotRun(
        tuple(sorted(offer - shown - ran)),
        tuple(sorted((offer & ran) - shown)),
    )


def _offering(content: Content, cards: Collection[TaskCard]) -> set[str]:
    return {
        name
        for name, variant in content.variants.items()
        if any(not refusal_of(variant, card) for card in cards)
    }
