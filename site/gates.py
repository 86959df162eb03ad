"""The board of gates on feature maps: what each adds to a residual network that has none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cab.scores.analyses import gain
from cab.scores.drawn import Drawn, weighted
from cab.scores.ranking import SEEDS_FOR_A_RANK
from cab.scores.rows import BoardRow
from cab.scores.ties import Place, rank_ties
from cab.site.content import Content, ProfileContent
from cab.taxonomy import TaskCard

SLOT = "feature_map"


@dataclass(frozen=True)
class GateRow:
    """An entry's gain over no gate: per task and on average, in the metric's unit, more is better.

    gain is empty unless the entry has results on every task; place is so, too, for what is not
    ranked.
    """

    row: BoardRow
    gains: Mapping[str, Drawn]
    gain: Drawn | None
    place: Place | None


def feature_maps(content: Content, one: ProfileContent) -> dict[str, Any]:
    """The tasks with a slot for gates, and what ran on them, best first."""
    cards = [card for card in content.tasks.values() if card.slot == SLOT]
    zero = next((row for row in one.board.rows if row.role == "zero"), None)
    found = [
        _gained(row, zero, cards)
        for row in one.board.rows
        if any(card.name in row.results for card in cards)
    ]
    places = rank_ties({
        gained.row.entry: gained.gain
        for gained in found
        if gained.gain is not None and gained.row.role == "entry" and _seeded(gained.row, cards)
    })  # fmt: skip
    rows = [
        replace(gained, place=places.get(gained.row.entry)) for gained in sorted(found, key=_order)
    ]
    families = {row.row.variant: content.family(row.row.variant) for row in rows}
    return {"gates": rows, "cards": cards, "families": families, "seeds": SEEDS_FOR_A_RANK}


def _gained(row: BoardRow, zero: BoardRow | None, cards: list[TaskCard]) -> GateRow:
    gains = {}
    for card in cards:
        mean = row.mean(card.name)
        without = None if zero is None else zero.mean(card.name)
        if row.role != "zero" and mean is not None and without is not None:
            gains[card.name] = gain(mean, without, card.higher_is_better)
    if len(gains) < len(cards):
        return GateRow(row, gains, None, None)
    point = sum(one.point for one in gains.values()) / len(gains)
    parts = [(1 / len(gains), one) for one in gains.values()]
    return GateRow(row, gains, weighted(parts, point), None)


def _seeded(row: BoardRow, cards: list[TaskCard]) -> bool:
    return all(len(row.results[card.name].values) >= SEEDS_FOR_A_RANK for card in cards)


def _order(gained: GateRow) -> tuple[bool, float, str]:
    return (
        gained.gain is None,
        -gained.gain.point if gained.gain is not None else 0.0,
        gained.row.entry,
    )
