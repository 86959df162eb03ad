"""State tracking: what entries reach at each level of a task that asks for a running state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cab.records.store import Record
from cab.scores.estimates import Estimated, mean_over_seeds
from cab.scores.ranges import metric_range
from cab.site.content import Content, ProfileContent, by_entry

TASKS = ("parity",)
"""Tasks whose answers are products of a group's elements, up to each position."""


@dataclass(frozen=True)
class TrackingRow:
    """An entry on a task: its mean over seeds at each level, from the easiest.

    transition says what the entry's settings say of the eigenvalues of its transition; empty of
    one whose settings say nothing.
    """

    entry: str
    variant: str
    family: str
    transition: str
    levels: tuple[Estimated, ...]
    seeds: int


def state_tracking(content: Content, one: ProfileContent) -> dict[str, Any]:
    """A table of each task with published levels: entries by their hardest level, best first."""
    on_board = (
        record
        for record in one.records.values()
        if record.key in one.on_board and record.metrics.levels
    )
    found: dict[str, list[TrackingRow]] = {}
    names: dict[str, list[str]] = {}
    for entry, task, own in by_entry(on_board):
        if task not in TASKS or len({len(record.metrics.levels) for record in own}) > 1:
            continue
        variant = own[0].variant
        family = content.family(variant.name)
        row = TrackingRow(
            entry,
            variant.name,
            family,
            transition(variant.config),
            at_levels(entry, own),
            len(own),
        )
        found.setdefault(task, []).append(row)
        names[task] = [level.name for level in own[0].metrics.levels]
    return {
        "tracking": [
            {
                "card": content.tasks[task],
                "names": names[task],
                "rows": sorted(rows, key=lambda row: (-row.levels[-1].point, row.entry)),
            }
            for task, rows in sorted(found.items())
        ]
    }


def at_levels(entry: str, records: Sequence[Record]) -> tuple[Estimated, ...]:
    """The mean over seeds of the task's metric at each level."""
    task = records[0].task
    by_level = zip(*(record.metrics.levels for record in records), strict=True)
    return tuple(
        mean_over_seeds(
            task.name,
            f"{entry} at level {number}",
            [level.test.value for level in levels],
            metric_range(task.metric),
        )
        for number, levels in enumerate(by_level, 1)
    )


def transition(config: Mapping[str, Any]) -> str:
    """What settings say of the eigenvalues of a transition, and of steps for each token."""
    negative, steps = config.get("negative"), config.get("steps")
    if not isinstance(negative, bool):
        return ""
    several = f", {steps} steps a token" if isinstance(steps, int) and steps > 1 else ""
    return ("-1 to 1" if negative else "0 to 1") + several
