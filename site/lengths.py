"""Tests at other lengths than that of training: what an entry keeps of its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cab.records.store import Record
from cab.scores.analyses import LengthProfile, length_profile
from cab.scores.estimates import Estimated, mean_over_seeds
from cab.scores.ranges import metric_range
from cab.site.content import Content, ProfileContent, by_entry
from cab.taxonomy import TaskCard


@dataclass(frozen=True)
class LengthRow:
    """An entry on a task: by factor of the training length the mean, or how the test ended.

    profile relates losses to the one at the training length; a share of right answers has none.
    """

    entry: str
    variant: str
    card: TaskCard
    means: Mapping[float, Estimated]
    endings: Mapping[float, str]
    profile: LengthProfile | None


def lengths(content: Content, one: ProfileContent) -> dict[str, Any]:
    """Every entry on every task that is tested at other lengths, by task, best first."""
    records = [
        record
        for record in one.records.values()
        if record.key in one.on_board and record.metrics.lengths
    ]
    rows = [_row(content.tasks[task], entry, own) for entry, task, own in by_entry(records)]
    tested = {factor for row in rows for factor in (*row.means, *row.endings)}
    return {"lengths": sorted(rows, key=_order), "factors": sorted(tested)}


def _row(card: TaskCard, entry: str, records: list[Record]) -> LengthRow:
    values: dict[float, list[float]] = {}
    endings: dict[float, str] = {}
    for record in records:
        for point in record.metrics.lengths:
            if point.estimate is not None:
                values.setdefault(point.factor, []).append(point.estimate.value)
            else:
                endings[point.factor] = point.status
    means = {
        factor: mean_over_seeds(
            card.name, f"{entry} at {factor:g}", found, metric_range(card.metric)
        )
        for factor, found in values.items()
    }
    losses = {round(1000 * factor): mean.point for factor, mean in means.items()}
    related = not card.higher_is_better and 1000 in losses and min(losses.values()) > 0
    profile = length_profile(losses, 1000) if related else None
    return LengthRow(entry, records[0].variant.name, card, means, endings, profile)


def _order(row: LengthRow) -> tuple[str, float, str]:
    longest = row.means[max(row.means)].point if row.means else 0.0
    return row.card.name, -longest if row.card.higher_is_better else longest, row.entry
