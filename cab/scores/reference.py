"""Published tables of other benchmarks: kept with their errata, shown apart from what is measured.

`results/reference/<name>.json` holds one benchmark. CAB's own index is defined on its tables.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cab.errors import CabError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedMetric(_Part):
    """One column of an index table, with the mean and deviation that its index uses."""

    task: str
    name: str
    higher_is_better: bool
    mean: float
    deviation: float


class IndexTable(_Part):
    """One pattern of CAB's tables: values per entry, the index as published, what is wrong.

    reproduced says whether the published index follows from the published values.
    """

    pattern: str
    metrics: tuple[PublishedMetric, ...]
    values: Mapping[str, tuple[float | None, ...]]
    published: Mapping[str, Mapping[str, float | None]]
    reproduced: bool
    errata: tuple[str, ...]


class PublishedTable(_Part):
    """Any other table: one row per entry."""

    title: str
    columns: tuple[str, ...]
    unit: str
    values: Mapping[str, tuple[float | None, ...]]
    errata: tuple[str, ...]


class ReferenceTables(_Part):
    """What one benchmark published."""

    name: str
    title: str
    authors: str
    year: int
    arxiv: str
    note: str
    index_tables: tuple[IndexTable, ...]
    tables: tuple[PublishedTable, ...]


def read_reference(folder: Path) -> list[ReferenceTables]:
    """All published tables of a results folder, by file name; see `read_tables`."""
    return read_tables(sorted((folder / "reference").glob("*.json")))


def read_tables(files: Iterable[Path]) -> list[ReferenceTables]:
    """The published tables of some files.

    Raises:
        CabError: a file is not of this form.
    """
    found = []
    for path in files:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(ReferenceTables.model_validate(content))
        except (ValueError, ValidationError) as error:
            raise CabError(f"{path} does not hold published tables: {error}.") from None
    return found


def legacy_index(table: IndexTable, entry: str) -> dict[str, float | None]:
    r"""CAB's compositional index of an entry: per task, and over all as `index`.

    .. math:: s_m = \pm \frac{x_m - \mu_m}{\sigma_m}

    with plus where higher is better; a task's index is the mean over its metrics, the whole one
    the mean over tasks. Mean and deviation are the published constants, so the index depends on
    the ten, four or three entries that they were taken over. None where a value is missing.
    """
    by_task: dict[str, list[float | None]] = {}
    for metric, value in zip(table.metrics, table.values[entry], strict=True):
        sign = 1 if metric.higher_is_better else -1
        one = None if value is None else sign * (value - metric.mean) / metric.deviation
        by_task.setdefault(metric.task, []).append(one)
    index = {task: _mean(values) for task, values in by_task.items()}
    return {**index, "index": _mean(list(index.values()))}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
