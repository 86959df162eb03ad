"""The records table: one row per cell, from which every score is made."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from cab.records.store import Environment, Record
from cab.scores.rates import Tuning, tuned
from cab.scores.summary import entry_label
from cab.taxonomy import TaskCard

if TYPE_CHECKING:
    import pandas as pd


def host_class(environment: Environment) -> str:
    """The hardware that a time or a memory belongs to; other hardware is another column."""
    if environment.device == "cpu":
        threads = environment.threads
        return f"{environment.cpu}, {threads} thread{'' if threads == 1 else 's'}"
    return environment.accelerator


def records_table(
    records: Iterable[Record],
    installed: Mapping[str, str] = MappingProxyType({}),
    tasks: Mapping[str, str] = MappingProxyType({}),
) -> "pd.DataFrame":
    """One row per record, sorted by key, so that the order of records changes nothing.

    value and standard_error are those of the scored metric on test, valid its mean on validation;
    they are missing (NaN) where the cell did not end well.
    installed: of the variant's installed source, which the argument gives by variant; here: of the
    task's source that is here, which `tasks` gives of those that are not CAB's own.
    comparable: checked by the laws, and trained by the task's own recipe.
    tuning: the learning rates of the entry on the task; counts: at the one that counts.
    """
    import pandas as pd

    records = sorted(records, key=lambda record: record.key)
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_group(record), []).append(record)
    rates = {name: tuned(group) for name, group in groups.items()}
    at_rate = {one.key for _, own in rates.values() for one in own}
    rows = [
        {
            **_row(one, rates[_group(one)][0], one.key in at_rate),
            "installed": installed.get(one.variant.name) == one.variant.source_hash,
            "here": tasks.get(one.task.name) == one.task.source_hash,
        }
        for one in records
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def _group(record: Record) -> tuple[object, ...]:
    """What the records of one entry on one task share."""
    task = record.task
    code = record.variant.source_hash, task.source_hash
    return entry_label(record), *code, task.profile, task.name, task.version


def _row(record: Record, tuning: Tuning, counts: bool) -> dict[str, object]:
    variant, task, cost = record.variant, record.task, record.cost
    test = record.metrics.test.get(task.metric)
    valid = record.metrics.valid.get(task.metric)
    return {
        "key": record.key,
        "entry": entry_label(record),
        "variant": variant.name,
        "source": variant.source_hash,
        "profile": task.profile,
        "task": task.name,
        "version": task.version,
        "task_source": task.source_hash or "",
        "pattern": task.pattern,
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "seed": record.seed,
        "status": record.status,
        "value": test.value if test else None,
        "standard_error": test.standard_error if test else None,
        "valid": valid.value if valid else None,
        "tuning": tuning,
        "counts": counts,
        "comparable": not record.settings.changed and not variant.unchecked,
        "parameters": variant.parameters,
        "peak_bytes": cost.peak_bytes,
        "flops": cost.flops,
        "host": host_class(record.environment),
        "ended": record.provenance.ended.isoformat(),
    }


_COLUMNS: Mapping[str, str] = {
    "key": "object",
    "entry": "object",
    "variant": "object",
    "source": "object",
    "installed": "bool",
    "here": "bool",
    "profile": "object",
    "task": "object",
    "version": "int64",
    "task_source": "object",
    "pattern": "object",
    "metric": "object",
    "higher_is_better": "bool",
    "seed": "int64",
    "status": "object",
    "value": "float64",
    "standard_error": "float64",
    "valid": "float64",
    "tuning": "object",
    "counts": "bool",
    "comparable": "bool",
    "parameters": "float64",
    "peak_bytes": "float64",
    "flops": "float64",
    "host": "object",
    "ended": "object",
}


def current(table: "pd.DataFrame", tasks: Mapping[str, TaskCard], profile: str) -> "pd.DataFrame":
    """The rows that a board of a profile is made from: those at the learning rate that counts."""
    table = at_every_rate(table, tasks, profile)
    return table[table["counts"]].reset_index(drop=True)


def at_every_rate(
    table: "pd.DataFrame", tasks: Mapping[str, TaskCard], profile: str
) -> "pd.DataFrame":
    """The rows of a profile that are of the present code, sorted by key.

    Kept are comparable rows of tasks that exist, in their present version; of each task that is
    not CAB's own the source that is here, or else the one that ran last; of each entry the
    installed source, or, without results of it, the one that ran last: results of different
    sources never mix.
    """
    versions = {name: card.version for name, card in tasks.items()}
    table = table[table["comparable"] & (table["profile"] == profile)]
    table = table[table["version"] == table["task"].map(versions)]
    if table.empty:
        return table.reset_index(drop=True)
    orders = (
        ("task", "task_source", ["here", "ended", "key"]),
        ("entry", "source", ["installed", "ended", "key"]),
    )
    for group, source, order in orders:
        newest = table.sort_values(order).groupby(group)[source].last()
        table = table[table[source] == table[group].map(newest)]
    return table.sort_values("key").reset_index(drop=True)
