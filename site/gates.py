"""The board of gates on feature maps: what each adds to a residual network that has none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cab.profiles import SEEDS_FOR_A_RANK
from cab.scores.analyses import gain
from cab.scores.estimates import Estimated, weighted
from cab.scores.rank_sets import RankSet, rank_sets
from cab.scores.rows import BoardRow
from cab.site.content import Content, ProfileContent
from cab.site.not_run import not_run
from cab.taxonomy import TaskCard

SLOT = "feature_map"


@dataclass(frozen=True)
class GateRow:
    """An entry's gain over no gate: per task and on average, in the metric's unit, more is better.

    gain is empty unless the entry has results on every task; ranks is so, too, for what is not
    ranked, and unranked says why an entry is not.
    """

    row: BoardRow
    gains: Mapping[str, Estimated]
    gain: Estimated | None
    ranks: RankSet | None
    unranked: str = ""


def feature_maps(content: Content, one: ProfileContent) -> dict[str, Any]:
    """The tasks with a slot for gates, and what ran on them, best first."""
    cards = [card for card in content.tasks.values() if card.slot == SLOT]
    zero = next((row for row in one.board.rows if row.role == "no_attention"), None)
    found = [
        _gained(row, zero, cards)
        for row in one.board.rows
        if any(card.name in row.results for card in cards)
    ]
    names = [card.name for card in cards]
    why = {one.row.entry: one.row.obstacle(names) for one in found if one.row.role == "entry"}
    sets = rank_sets({
        one.row.entry: one.gain
        for one in found
        if one.gain is not None and why.get(one.row.entry) == ""
    })  # fmt: skip
    rows = [
        replace(one, ranks=sets.get(one.row.entry), unranked=why.get(one.row.entry, ""))
        for one in sorted(found, key=_order)
    ]
    families = {row.row.variant: content.family(row.row.variant) for row in rows}
    return {
        "gates": rows,
        "cards": cards,
        "families": families,
        "seeds": SEEDS_FOR_A_RANK,
        "not_run": not_run(content, one, cards),
    }


def _gained(row: BoardRow, zero: BoardRow | None, cards: list[TaskCard]) -> GateRow:
    gains = {}
    for card in cards:
        mean = row.mean(card.name)
        without = None if zero is None else zero.mean(card.name)
        if row.role != "no_attention" and mean is not None and without is not None:
            gains[card.name] = gain(mean, without, card.higher_is_better)
    if len(gains) < len(cards):
        return GateRow(row, gains, None, None)
    point = sum(one.point for one in gains.values()) / len(gains)
    parts = [(1 / len(gains), one) for one in gains.values()]
    return GateRow(row, gains, weighted(parts, point), None)


def _order(gained: GateRow) -> tuple[bool, float, str]:
    return (
        gained.gain is None,
        -gained.gain.point if gained.gain is not None else 0.0,
        gained.row.entry,
    )
