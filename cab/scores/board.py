"""The board: every entry's score per task, per pattern and over all, with coverage and ranks.

A task is scored if its card is scored in the profile and its scale exists (see
`cab.scores.normalise`). The score of a pattern is the mean over its scored tasks on which the
entry has results; the CAB score is the mean over those patterns. A task without a result is
missing: it is never taken as zero, and the coverage shows it. Ranks compare only rows with equal
coverage.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cab.scores.drawn import (
    Drawn,
    Interval,
    constant,
    mean_over_seeds,
    mean_over_tasks,
    weighted,
)
from cab.scores.missing import Missing, group_missing
from cab.scores.normalise import Scale, scale_of
from cab.scores.ranges import metric_range
from cab.scores.ranking import rank, seeds_of
from cab.scores.rows import BoardRow, Coverage, Result
from cab.scores.table import current
from cab.taxonomy import Pattern, TaskCard, VariantCard

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Board:
    """A profile's rows, best first within equal coverage, wider coverage first.

    scales holds the scored tasks. left_out says of each other task of the profile why it is not
    scored, missing of which tasks, on which entries ran, the references have no result (of a
    board without rows: all scored tasks). band is the hull of the reimplementation rows'
    intervals and of 1: what one and the same function scores, by other code and other seeds;
    pattern_bands is the same of each pattern.
    """

    profile: str
    rows: tuple[BoardRow, ...]
    scales: Mapping[str, Scale]
    left_out: Mapping[str, str]
    band: Interval | None
    pattern_bands: Mapping[Pattern, Interval]
    missing: tuple[Missing, ...] = ()

    def row(self, entry: str) -> BoardRow | None:
        """The row of an entry."""
        return next((row for row in self.rows if row.entry == entry), None)


def make_board(
    table: "pd.DataFrame",
    profile: str,
    tasks: Mapping[str, TaskCard],
    variants: Mapping[str, VariantCard],
    together: bool = False,
) -> Board:
    """Make a profile's board from a records table (`cab.scores.table.records_table`).

    together ranks rows with different coverage together, which the reader must ask for.
    """
    table = current(table, tasks, profile)
    reference = next(name for name, card in variants.items() if card.role == "reference")
    zero = next(name for name, card in variants.items() if card.role == "no_attention")
    means = _means(table)
    scales, left_out = _scales(tasks, profile, means, (reference, zero))
    missing = {
        task: absent
        for task in (tasks if table.empty else map(str, table["task"].unique()))
        if tasks[task].scored_in(profile) and (absent := _absent(task, means, (reference, zero)))
    }
    sizes = _sizes(table, scales, reference)
    rows = [
        _row(group, means, scales, tasks, variants, (reference, zero), missing, sizes)
        for _, group in table.groupby("entry", sort=True)
    ]
    by_pattern = {
        pattern: {task for task in scales if tasks[task].pattern == pattern} for pattern in Pattern
    }
    reimplementations = [row for row in rows if row.role == "reimplementation"]
    by_own = {p: _band([row.patterns.get(p) for row in reimplementations]) for p in Pattern}
    return Board(
        profile,
        rank(rows, by_pattern, together),
        scales,
        left_out,
        _band([row.score for row in reimplementations]),
        {pattern: band for pattern, band in by_own.items() if band is not None},
        group_missing(missing, profile),
    )


def _means(table: "pd.DataFrame") -> dict[tuple[str, str], Drawn]:
    """The mean over seeds of every entry on every task on which a seed ended well."""
    done = table[table["status"] == "ok"].sort_values(["seed", "key"])
    means = {}
    for names, group in done.groupby(["entry", "task"], sort=True):
        entry, task = map(str, names)
        reach = metric_range(group["metric"].iloc[0])
        means[task, entry] = mean_over_seeds(task, entry, group["value"].tolist(), reach)
    return means


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


def _scales(
    tasks: Mapping[str, TaskCard],
    profile: str,
    means: Mapping[tuple[str, str], Drawn],
    ends_of_scale: tuple[str, str],
) -> tuple[dict[str, Scale], dict[str, str]]:
    scales, left_out = {}, {}
    reference, zero = ends_of_scale
    for task, card in sorted(tasks.items()):
        ends = (means.get((task, reference)), means.get((task, zero)))
        if not card.scored_in(profile):
            left_out[task] = "diagnostic: no certificate in this profile"
        elif ends[0] is None or ends[1] is None:
            absent = _absent(task, means, ends_of_scale)
            verb = "has" if len(absent) == 1 else "have"
            left_out[task] = f"{' and '.join(absent)} {verb} no result yet, so there is no scale"
        else:
            scale = scale_of(ends[0].point, ends[1].point, card.chance, card.higher_is_better)
            if scale is None:
                left_out[task] = f"{reference} is not above the controls, so there is no scale"
            elif _blurred(ends[0], constant(scale.floor) if scale.guessed else ends[1]):
                left_out[task] = (
                    f"{reference} is not significantly better than the controls, so there is no "
                    f"scale"
                )
            else:
                scales[task] = scale
    return scales, left_out


def _absent(
    task: str, means: Mapping[tuple[str, str], Drawn], ends: tuple[str, str]
) -> tuple[str, ...]:
    """The references of which no seed ended well on a task."""
    return tuple(name for name in ends if (task, name) not in means)


def _blurred(top: Drawn, floor: Drawn) -> bool:
    """Whether the ends of a scale have intervals and are not significantly different."""
    gap = top.minus(floor)
    return gap.interval() is not None and not gap.told_from_zero()


def _row(
    group: "pd.DataFrame",
    means: Mapping[tuple[str, str], Drawn],
    scales: Mapping[str, Scale],
    tasks: Mapping[str, TaskCard],
    variants: Mapping[str, VariantCard],
    ends: tuple[str, str],
    missing: Collection[str],
    sizes: Mapping[str, float],
) -> BoardRow:
    entry, variant = group["entry"].iloc[0], group["variant"].iloc[0]
    results: dict[str, Result] = {}
    for name, cells in group.sort_values(["seed", "key"]).groupby("task", sort=True):
        task, done = str(name), cells[cells["status"] == "ok"]
        mean = means.get((task, entry))
        score = None
        if mean is not None and task in scales:
            score = _score(mean, scales[task], *(means[task, end] for end in ends))
        results[task] = Result(
            task,
            dict(zip(done["seed"].tolist(), done["value"].tolist(), strict=True)),
            {str(k): int(n) for k, n in cells["status"].value_counts().sort_index().items()},
            mean,
            score,
        )
    scored = {task: one.score for task, one in results.items() if one.score is not None}
    patterns = {}
    for pattern in Pattern:
        own = {task: one for task, one in scored.items() if tasks[task].pattern == pattern}
        if own:
            patterns[pattern] = mean_over_tasks(pattern, own)
    score = None
    if patterns:
        point = sum(one.point for one in patterns.values()) / len(patterns)
        score = weighted([(1 / len(patterns), one) for one in patterns.values()], point)
    coverage = Coverage(
        tuple(scored),
        tuple(patterns),
        len(scales),
        len({tasks[task].pattern for task in scales}),
    )
    card = variants.get(variant)
    row = BoardRow(
        entry,
        variant,
        group["source"].iloc[0],
        card.role if card else "entry",
        results,
        patterns,
        score,
        coverage,
        seeds=0,
        size=sizes.get(entry),
    )
    # An entry without a score has its seeds all the same.
    asked = list(scored) or [task for task in results if task in missing] or list(results)
    return replace(row, seeds=seeds_of(row, asked))


def _score(mean: Drawn, scale: Scale, reference: Drawn, zero: Drawn) -> Drawn:
    """A mean's place on a scale, whose ends are drawn too, to first order.

    It reaches as far as the metric does on the scale that was measured.
    """
    floor = constant(scale.floor) if scale.guessed else zero
    point, span = scale.score(mean.point), scale.top - scale.floor
    parts = [(1 / span, mean), (-point / span, reference), ((point - 1) / span, floor)]
    low, high = sorted((scale.score(mean.reach.low), scale.score(mean.reach.high)))
    return replace(weighted(parts, point), reach=Interval(low, high))


def _band(scores: Iterable[Drawn | None]) -> Interval | None:
    """The scores of other implementations of the reference: the noise of the benchmark."""
    found = [score.interval(tasks=False) for score in scores if score is not None]
    intervals = [interval for interval in found if interval is not None]
    if not intervals:
        return None
    return Interval(
        min(1.0, *(one.low for one in intervals)), max(1.0, *(one.high for one in intervals))
    )
