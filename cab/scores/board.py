"""The board: every entry's score per task, per pattern and over all, with coverage and ranks.

A task is scored if it has a scale (see `cab.scores.normalise`). The score of a pattern is the mean
over its scored tasks on which the entry has results; the CAB score is the mean over those
patterns. A task without a result is missing: it is never taken as zero, and the coverage shows it.
Ranks compare only entries with results on the same tasks (see `cab.scores.ranking`).
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cab.scores.estimates import Estimated, Interval, mean_over_seeds, mean_over_tasks, weighted
from cab.scores.normalise import PLATEAU, Scale, scale_of
from cab.scores.ranges import metric_range
from cab.scores.ranking import rank
from cab.scores.rows import BoardRow, Coverage, Result
from cab.scores.table import current
from cab.taxonomy import Pattern, TaskCard, VariantCard

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Board:
    """A profile's rows, best first within equal coverage, wider coverage first.

    scales holds the scored tasks. left_out says of each other task of the profile why it is not
    scored.
    """

    profile: str
    rows: tuple[BoardRow, ...]
    scales: Mapping[str, Scale]
    left_out: Mapping[str, str]

    def row(self, entry: str) -> BoardRow | None:
        """The row of an entry."""
        return next((row for row in self.rows if row.entry == entry), None)

    @property
    def reference(self) -> BoardRow | None:
        """The row of softmax attention, with which the others are compared in drawings."""
        return next((row for row in self.rows if row.role == "reference"), None)

    def reference_on(self, row: BoardRow) -> float | None:
        """The score of softmax attention over a row's patterns; None if it lacks one of them."""
        softmax = self.reference
        if (
            softmax is None
            or not row.patterns
            or not row.patterns.keys() <= softmax.patterns.keys()
        ):
            return None
        return statistics.fmean(softmax.patterns[pattern].point for pattern in row.patterns)


def make_board(
    table: "pd.DataFrame",
    profile: str,
    tasks: Mapping[str, TaskCard],
    variants: Mapping[str, VariantCard],
) -> Board:
    """Make a profile's board from a records table (`cab.scores.table.records_table`)."""
    table = current(table, tasks, profile)
    reference = next(name for name, card in variants.items() if card.role == "reference")
    scales: dict[str, Scale] = {}
    left_out: dict[str, str] = {}
    for task, card in sorted(tasks.items()):
        found = scale_of(card, profile, reference)
        if isinstance(found, Scale):
            scales[task] = found
        else:
            left_out[task] = found
    sizes = _sizes(table, scales, reference)
    rows = [
        _row(group, scales, tasks, variants, sizes)
        for _, group in table.groupby("entry", sort=True)
    ]
    of_pattern = {
        pattern: {task for task in scales if tasks[task].pattern == pattern} for pattern in Pattern
    }
    return Board(profile, rank(rows, of_pattern), scales, left_out)


def _sizes(table: "pd.DataFrame", scales: Mapping[str, Scale], reference: str) -> dict[str, float]:
    """The parameters of every entry over the reference's, on the scored task with the most."""
    scored = table[table["task"].isin(list(scales))]
    if scored.empty:
        return {}
    most = scored.groupby(["entry", "task"])["parameters"].max().unstack("task")
    if reference not in most.index:
        return {}
    allowed = most.loc[reference].replace(0, float("nan"))
    shares = (most / allowed).max(axis="columns").dropna()
    return {str(entry): float(share) for entry, share in shares.items()}


def _row(
    group: "pd.DataFrame",
    scales: Mapping[str, Scale],
    tasks: Mapping[str, TaskCard],
    variants: Mapping[str, VariantCard],
    sizes: Mapping[str, float],
) -> BoardRow:
    entry, variant = group["entry"].iloc[0], group["variant"].iloc[0]
    results = {
        str(task): _result(entry, str(task), cells, scales.get(str(task)))
        for task, cells in group.sort_values(["seed", "key"]).groupby("task", sort=True)
    }
    scored = {task: one.score for task, one in results.items() if one.score is not None}
    patterns = {}
    for pattern in Pattern:
        own = {task: one for task, one in scored.items() if tasks[task].pattern == pattern}
        if own:
            patterns[pattern] = mean_over_tasks(pattern, own)
    coverage = Coverage(
        tuple(scored),
        tuple(patterns),
        len(scales),
        len({tasks[task].pattern for task in scales}),
    )
    card = variants.get(variant)
    return BoardRow(
        entry,
        variant,
        group["source"].iloc[0],
        card.role if card else "entry",
        results,
        patterns,
        mean_over_patterns(list(patterns.values())) if patterns else None,
        coverage,
        seeds=min(len(results[task].values) for task in (list(scored) or results)),
        size=sizes.get(entry),
    )


def mean_over_patterns(scores: Sequence[Estimated]) -> Estimated:
    """The mean of the scores of patterns, which weigh the same."""
    point = sum(one.point for one in scores) / len(scores)
    return weighted([(1 / len(scores), one) for one in scores], point)


def _result(entry: str, task: str, cells: "pd.DataFrame", scale: Scale | None) -> Result:
    """An entry on a task, from its cells at the learning rate that counts."""
    done = cells[cells["status"] == "ok"]
    values = dict(zip(done["seed"].tolist(), done["value"].tolist(), strict=True))
    mean = score = deviation = left = None
    if values:
        reach = metric_range(done["metric"].iloc[0])
        mean = mean_over_seeds(task, entry, list(values.values()), reach)
    if mean is not None and scale is not None:
        score = _score(mean, scale)
        if done["valid"].notna().all():
            left = sum(scale.score(valid) >= PLATEAU for valid in done["valid"])
        if len(values) > 1:
            deviation = statistics.stdev(map(scale.score, values.values()))
    return Result(
        task,
        values,
        {str(k): int(n) for k, n in cells["status"].value_counts().sort_index().items()},
        mean,
        score,
        cells["tuning"].iloc[0],
        deviation,
        left,
    )


def _score(mean: Estimated, scale: Scale) -> Estimated:
    """A mean's place on a scale; it reaches as far as the metric does."""
    moved = weighted([(1 / (scale.top - scale.floor), mean)], scale.score(mean.point))
    low, high = sorted((scale.score(mean.reach.low), scale.score(mean.reach.high)))
    return replace(moved, reach=Interval(low, high))
