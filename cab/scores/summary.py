"""Means over seeds with their intervals.

A row is one entry (a variant with its settings) on one task of one profile and version.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from cab.records.evaluations import measurements, title
from cab.records.rates import recipe_at_any_rate
from cab.records.store import Record
from cab.scores.rates import Tried, trial_of, tuned

IntervalSource = Literal["seeds", "test examples"]


@dataclass(frozen=True)
class Row:
    """An entry's result on a task.

    mean is over seeds, interval the half-width of its 95 % interval: Student's t over seeds, or,
    with one seed, 1.96 standard errors over the test examples (which leaves out what another
    seed would change). Both are None when no seed ended well; outcomes counts how all ended.

    All these are of the learning rate that counts, `rate`. rates holds what each of the task's
    rates gave, and sensitivity their best minus their worst test result, in the metric's unit.
    trial says why the row is a trial: not all rates were tried, or there are too few seeds.
    own_recipe is false if a setting of the task's recipe was changed.

    seconds is the mean time of a cell, data_share the mean share of the time in training steps
    that was spent waiting for batches; None where no record holds it.

    levels holds the mean at each level of the task, by the level's name.

    lengths, for a task with tests at other lengths, holds the mean at each multiple of the
    training length, or, where a seed has none there, how it ended. evaluations holds what the
    trained weights scored elsewhere, by task, metric and settings.
    """

    entry: str
    variant: str
    task: str
    version: int
    profile: str
    pattern: str
    metric: str
    higher_is_better: bool
    mean: float | None
    interval: float | None
    interval_source: IntervalSource | None
    seeds: int
    outcomes: Mapping[str, int]
    shortcuts: Mapping[str, float]
    seconds: float | None
    data_share: float | None = None
    lengths: Mapping[float, float | str] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    evaluations: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    task_source: str | None = None
    rate: float | None = None
    rates: tuple[Tried, ...] = ()
    sensitivity: float | None = None
    trial: str = ""
    own_recipe: bool = True


def entry_label(record: Record) -> str:
    """The variant's name, the settings that differ from the defaults, and `unchecked`."""
    changed = {**record.variant.options, **record.settings.changed}
    return label(record.variant.name, changed, record.variant.unchecked)


def label(name: str, changed: Mapping[str, object], unchecked: bool = False) -> str:
    """The name of an entry: a variant's name with its settings, `window (window=8)`."""
    said = [f"{key}={value}" for key, value in sorted(changed.items())]
    said += ["unchecked"] if unchecked else []
    return f"{name} ({', '.join(said)})" if said else name


def summarise(
    records: Iterable[Record],
    installed: Mapping[str, str] = MappingProxyType({}),
    tasks: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """Group records into rows, sorted by profile, task and entry.

    Where several source hashes of one entry are stored, the installed one is shown, and the one
    that ran last where none of them is installed: results of different sources never share a row,
    and neither do results of different learning rates.
    Of a task that is not CAB's own, whose version may have been forgotten, only results of one
    source are shown, chosen in the same way; of a task whose recipe was edited under one version,
    only those of the recipe that ran last.

    Args:
        installed: the source hash of each variant that is installed.
        tasks: the source hash of each task that is here and not CAB's own.
    """

    def of_task(record: Record) -> tuple[bool, datetime]:
        here = tasks.get(record.task.name) == record.task.source_hash
        return here, record.provenance.ended

    records = sorted(records, key=of_task)
    newest = {(one.task.profile, one.task.name): one.task.source_hash for one in records}
    groups: dict[tuple[str, str, int, str], list[Record]] = defaultdict(list)
    for record in records:
        task = record.task
        if task.source_hash != newest[task.profile, task.name]:
            continue
        groups[task.profile, task.name, task.version, entry_label(record)].append(record)
    return [_row(groups[key], installed) for key in sorted(groups)]


def _row(records: list[Record], installed: Mapping[str, str]) -> Row:
    def preference(record: Record) -> tuple[bool, datetime]:
        here = installed.get(record.variant.name) == record.variant.source_hash
        return here, record.provenance.ended

    newest = max(records, key=preference)
    records = [
        record
        for record in records
        if record.variant.source_hash == newest.variant.source_hash
        and recipe_at_any_rate(record) == recipe_at_any_rate(newest)
    ]
    tuning, records = tuned(records)
    task = newest.task
    done = [record for record in records if record.status == "ok"]
    values = [record.metrics.test[task.metric].value for record in done]
    mean = interval = source = seconds = None
    if done:
        mean = statistics.fmean(values)
        seconds = statistics.fmean([record.cost.total_seconds for record in done])
        interval = 1.96 * done[0].metrics.test[task.metric].standard_error
        source = "test examples"
        if len(values) > 1:
            interval = student_t95(len(values) - 1) * statistics.stdev(values)
            interval /= math.sqrt(len(values))
            source = "seeds"
    outcomes: dict[str, int] = defaultdict(int)
    for record in records:
        outcomes[record.status] += 1
    return Row(
        entry=entry_label(newest),
        variant=newest.variant.name,
        task=task.name,
        version=task.version,
        profile=task.profile,
        pattern=task.pattern,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        mean=mean,
        interval=interval,
        interval_source=source,  # type: ignore[arg-type]
        seeds=len(done),
        outcomes=dict(outcomes),
        shortcuts={name: one.value for name, one in done[0].shortcuts.items()} if done else {},
        seconds=seconds,
        data_share=_data_share(done),
        lengths=_lengths(done),
        levels=_levels(done),
        evaluations=_evaluations(done),
        source=newest.variant.source_hash,
        task_source=task.source_hash,
        rate=tuning.rate,
        rates=tuning.tried,
        sensitivity=tuning.sensitivity,
        trial=trial_of(tuning, len({one.seed for one in records})),
        own_recipe=not newest.settings.changed,
    )


def _data_share(done: Sequence[Record]) -> float | None:
    """The share of the time in training steps that was spent waiting for batches."""
    shares = [
        one.cost.data_seconds / one.cost.seconds
        for one in done
        if one.cost.data_seconds is not None and one.cost.seconds
    ]
    return statistics.fmean(shares) if shares else None


def _levels(done: Sequence[Record]) -> dict[str, float]:
    """The mean over seeds at each level, by the level's name, from the easiest."""
    found: dict[str, list[float]] = {}
    for at in (at for record in done for at in record.metrics.levels):
        found.setdefault(at.name, []).append(at.test.value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def _lengths(done: Sequence[Record]) -> dict[float, float | str]:
    points = [point for record in done for point in record.metrics.lengths]
    means: dict[float, float | str] = {}
    for factor in sorted({point.factor for point in points}):
        here = [point for point in points if point.factor == factor]
        values = [point.estimate.value for point in here if point.estimate is not None]
        bad = [point.status for point in here if point.estimate is None]
        means[factor] = bad[0] if bad else statistics.fmean(values)
    return means


def _evaluations(done: Sequence[Record]) -> dict[str, float]:
    """Means over the seeds that were evaluated alike: the same task, metric and settings."""
    groups = measurements(done)
    labels = [title(one) for (_, one), *_ in groups]
    means = {}
    for name, group in zip(labels, groups, strict=True):
        _, one = group[0]
        if labels.count(name) > 1:  # settings that are written alike, or other versions
            name += f" [{one.harness} {one.harness_version}, task version {one.task_version}]"
        while name in means:
            name += "'"
        means[name] = statistics.fmean(other.value for _, other in group)
    return means


def student_t95(degrees: float) -> float:
    """The two-sided 95 % quantile of Student's t distribution."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def rows_of_task(rows: Sequence[Row], task: str, profile: str) -> dict[str, Row]:
    """The newest version's rows of a task, by entry."""
    found = [row for row in rows if row.task == task and row.profile == profile]
    newest = max((row.version for row in found), default=0)
    return {row.entry: row for row in found if row.version == newest}
