"""The tables of published benchmarks, with one's own results in the published columns and units.

A task's card names, for each of its metrics, the column of a published table that it repeats
(`TaskCard.suites`). A column that several tasks repeat is the mean over all of them, and has no
value before each has one.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cab.errors import counted
from cab.records.rates import recipe_at_any_rate
from cab.records.store import Record
from cab.scores.reference import IndexTable, PublishedTable, ReferenceTables, legacy_index
from cab.scores.summary import entry_label
from cab.taxonomy import Pattern, TaskCard

EXCHANGED = {"cab": {"ECL": "Weather", "Weather": "ECL"}}
"""Labels that a published table has exchanged (its errata say so), by suite; shown corrected."""

Source = tuple[str, str]
"""A task and one of its metrics."""


@dataclass(frozen=True)
class Column:
    """One column: its name, the tasks and metrics it is the mean of, and whether more is better.

    published says whether the benchmark printed values in it.
    """

    name: str
    sources: tuple[Source, ...]
    higher_is_better: bool
    published: bool


@dataclass(frozen=True)
class SuiteRow:
    """An entry's values in the order of the columns, and its index by task; None is no value."""

    entry: str
    published: bool
    values: tuple[float | None, ...]
    index: Mapping[str, float | None]


@dataclass(frozen=True)
class SuiteTable:
    """One table of a suite: of a pattern, or of all tasks. notes are sentences below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[SuiteRow, ...]
    index: tuple[str, ...]
    notes: tuple[str, ...]


def suite_tables(
    suite: str,
    cards: Sequence[TaskCard],
    records: Iterable[Record],
    references: Iterable[ReferenceTables],
    profile: str,
) -> list[SuiteTable]:
    """Return the tables of a suite.

    Args:
        suite: its name; that of a published benchmark, of which a word after a hyphen tells sizes.
        cards: the cards of its tasks.
        records: any records; those of the present versions of these tasks in the profile count.
        references: the published benchmarks.
        profile: the profile.
    """
    benchmark, _, sizes = suite.partition("-")
    found = {one.name.lower(): one for one in references}.get(benchmark)
    own = _means(records, cards, profile)
    tables = _tables(suite, sizes, cards, own, found, profile)
    if found is None or sizes:
        return tables
    cited = f"Published rows: {found.authors} ({found.year}), arXiv {found.arxiv}."
    return [replace(one, notes=(cited, *one.notes)) for one in tables]


def _tables(
    suite: str,
    sizes: str,
    cards: Sequence[TaskCard],
    own: Mapping[str, Mapping[Source, float]],
    found: ReferenceTables | None,
    profile: str,
) -> list[SuiteTable]:
    """The tables of a suite, without the citation."""
    if found is None:
        columns = _columns(cards, suite, [])
        return [_plain(suite, columns, own, None, profile)]
    if not found.index_tables:
        table = found.tables[0]
        columns = _columns(cards, suite, [name for name in table.columns if name != "average"])
        if sizes:
            return [
                _plain(
                    f"{found.name} at the sizes of {sizes.upper()}", columns, own, None, profile
                )
            ]
        made = _plain(found.name, columns, own, table, profile)
        return [replace(made, notes=(*made.notes, *table.errata))]
    return [
        _indexed(suite, found.name, [c for c in cards if c.pattern == p], one, own, profile)
        for p in Pattern
        for one in found.index_tables
        if one.pattern == p
    ]


def _means(
    records: Iterable[Record], cards: Sequence[TaskCard], profile: str
) -> dict[str, dict[Source, float]]:
    """The mean over seeds of each metric, by entry; of the recipe and the source that ran last."""
    versions = {card.name: card.version for card in cards}
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        task = record.task
        if (
            record.status == "ok"
            and task.profile == profile
            and task.source_hash is None
            and versions.get(task.name) == task.version
        ):
            groups.setdefault((entry_label(record), task.name), []).append(record)
    means: dict[str, dict[Source, float]] = {}
    for (entry, task_name), group in sorted(groups.items()):
        newest = max(group, key=lambda record: record.provenance.ended)
        alike = [
            record
            for record in group
            if record.variant.source_hash == newest.variant.source_hash
            and recipe_at_any_rate(record) == recipe_at_any_rate(newest)
        ]
        for metric in newest.metrics.test:
            values = [record.metrics.test[metric].value for record in alike]
            means.setdefault(entry, {})[task_name, metric] = statistics.fmean(values)
    return means


def _columns(
    cards: Sequence[TaskCard], suite: str, order: Sequence[str], more_is_better: bool = True
) -> list[Column]:
    """The columns that cards name, those of the published order first."""
    sources: dict[str, list[Source]] = {}
    for card in cards:
        for metric, name in card.suites[suite].items():
            sources.setdefault(name, []).append((card.name, metric))
    better = {
        name: card.higher_is_better if metric == card.metric else more_is_better
        for card in cards
        for metric, name in card.suites[suite].items()
    }
    names = dict.fromkeys([*order, *sources])
    return [
        Column(name, tuple(sources.get(name, ())), better.get(name, True), name in order)
        for name in names
    ]


def _value(column: Column, own: Mapping[Source, float], percent: bool) -> float | None:
    """The mean over a column's tasks in the published unit; None if one has no result.

    A metric whose name begins with log_ is published as its exponential.
    """
    values = [own.get(source) for source in column.sources]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    if all(metric.startswith("log_") for _, metric in column.sources):
        known = [math.exp(value) for value in known]
    return statistics.fmean(known) * (100 if percent else 1)


def _missing(columns: Sequence[Column], own: Mapping[str, Mapping[Source, float]]) -> list[str]:
    """Sentences on entries that lack some of a column's tasks."""
    found = []
    for entry, values in own.items():
        for column in columns:
            have = sum(source in values for source in column.sources)
            if 0 < have < len(column.sources):
                tasks = counted(len(column.sources), "task")
                found.append(f"{entry}: {column.name} has results on {have} of {tasks}.")
    return found


def _plain(
    title: str,
    columns: list[Column],
    own: Mapping[str, Mapping[Source, float]],
    table: PublishedTable | None,
    profile: str,
) -> SuiteTable:
    """A table of accuracies in per cent, and their mean over the columns that were published."""
    rows = []
    every = [at for at, column in enumerate(columns) if column.published]
    if table is not None:
        place = [table.columns.index(column.name) for column in columns if column.published]
        mean = table.columns.index("average")
        for entry, cells in table.values.items():
            rows.append(
                SuiteRow(entry, True, tuple(cells[at] for at in place), {"average": cells[mean]})
            )
        every = [at for at in every if any(row.values[at] is not None for row in rows)]
    for entry, values in own.items():
        found = tuple(_value(column, values, percent=True) for column in columns)
        averaged = [found[at] for at in every]
        known = [value for value in averaged if value is not None]
        whole = statistics.fmean(known) if known and len(known) == len(averaged) else None
        rows.append(SuiteRow(entry, False, found, {"average": whole}))
    over = ", ".join(columns[at].name for at in every)
    notes = [f"Own rows are of profile {profile}; the average is over {over}."]
    notes += _missing(columns, own)
    return SuiteTable(
        f"{title}, accuracy in %", tuple(columns), tuple(rows), ("average",), tuple(notes)
    )


def _indexed(
    suite: str,
    title: str,
    cards: Sequence[TaskCard],
    table: IndexTable,
    own: Mapping[str, Mapping[Source, float]],
    profile: str,
) -> SuiteTable:
    """A pattern's table of CAB with its index; columns beyond the published ones have none."""
    exchanged = EXCHANGED.get(suite, {})

    def named(name: str) -> str:
        first, space, rest = name.partition(" ")
        return exchanged.get(first, first) + space + rest

    order = [named(metric.name) for metric in table.metrics]
    better = {named(metric.name): metric.higher_is_better for metric in table.metrics}
    columns = [
        replace(column, higher_is_better=better.get(column.name, column.higher_is_better))
        for column in _columns(cards, suite, order, more_is_better=False)
    ]
    tasks = tuple(dict.fromkeys(metric.task for metric in table.metrics))
    blank = (None,) * (len(columns) - len(order))
    rows = [
        SuiteRow(entry, True, (*cells, *blank), dict(table.published.get(entry, {})))
        for entry, cells in table.values.items()
    ]
    for entry, values in own.items():
        found = tuple(_value(column, values, percent=False) for column in columns)
        if any(value is not None for value in found):
            one = table.model_copy(update={"values": {entry: found[: len(order)]}})
            rows.append(SuiteRow(entry, False, found, legacy_index(one, entry)))
    notes = [f"Own rows are of profile {profile}; indices use the published means and deviations."]
    if extra := [column.name for column in columns if not column.published]:
        notes.append(f"Not published in this pattern: {', '.join(extra)}.")
    if moved := [name for name in exchanged if any(name in column for column in order)]:
        notes.append(f"The published labels {' and '.join(moved)} are exchanged here, see below.")
    notes += [*_missing(columns, own), *table.errata]
    return SuiteTable(
        f"{title}: {table.pattern}", tuple(columns), tuple(rows), (*tasks, "index"), tuple(notes)
    )
