"""Published tables of other benchmarks: kept with their errata, shown apart from what is measured.

`results/reference/<name>.json` holds one benchmark. CAB's own index is defined on its tables.
"""

import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from cab.errors import CabError
from cab.records.fields import LARGEST, Count, Finite, Line, Name, Text, first_fault
from cab.records.files import parse_json, read_text
from cab.records.parts import Part

LARGEST_FILE = 10_000_000


class PublishedMetric(Part):
    """One column of an index table, with the mean and deviation that its index uses."""

    task: Name
    name: Name
    higher_is_better: bool
    mean: Finite
    deviation: Annotated[float, Field(ge=1e-9, le=LARGEST, allow_inf_nan=False)]


class IndexTable(Part):
    """One pattern of CAB's tables: values per entry, the index as published, what is wrong.

    reproduced says whether the published index follows from the published values.
    """

    pattern: Name
    metrics: tuple[PublishedMetric, ...] = Field(min_length=1)
    values: Mapping[Name, tuple[Finite | None, ...]] = Field(min_length=1)
    published: Mapping[Name, Mapping[Name, Finite | None]] = Field(min_length=1)
    reproduced: bool
    errata: tuple[Text, ...]

    @model_validator(mode="after")
    def _tables_agree(self) -> "IndexTable":
        if any(len(row) != len(self.metrics) for row in self.values.values()):
            raise ValueError("a row of values has not one value per metric")
        known = {*(metric.task for metric in self.metrics), "index"}
        if not all(e in self.values and row.keys() <= known for e, row in self.published.items()):
            raise ValueError("the published index names an entry or a task without values")
        return self


class PublishedTable(Part):
    """Any other table: one row per entry."""

    title: Line
    columns: tuple[Line, ...]
    unit: Line
    values: Mapping[Name, tuple[Finite | None, ...]]
    errata: tuple[Text, ...]

    @property
    def over_lengths(self) -> bool:
        """Whether it is a metric against length, which is drawn: its columns are lengths."""
        return self.title.startswith("Interpolation")

    @model_validator(mode="after")
    def _rows_are_whole(self) -> "PublishedTable":
        if any(len(row) != len(self.columns) for row in self.values.values()):
            raise ValueError("a row has not one value per column")
        if self.over_lengths:
            known = [value for row in self.values.values() for value in row if value is not None]
            lengths = all(re.fullmatch(r"[1-9]\d{0,8}", column) for column in self.columns)
            if not lengths or not known or min(known) < 1e-9:
                raise ValueError("lengths and values of a table over lengths are to be above 0")
        return self


class ReferenceTables(Part):
    """What one benchmark published."""

    name: Name
    title: Line
    authors: Text
    year: Count
    arxiv: Line
    note: Text
    index_tables: tuple[IndexTable, ...]
    tables: tuple[PublishedTable, ...]


def read_reference(folder: Path) -> list[ReferenceTables]:
    """All published tables of a results folder, by file name.

    Raises:
        CabError: a file is not of this form.
    """
    problems: list[str] = []
    found = read_tables(sorted((folder / "reference").glob("*.json")), problems)
    if problems:
        raise CabError("\n".join(problems))
    return found


def read_tables(files: Iterable[Path], problems: list[str]) -> list[ReferenceTables]:
    """The published tables of some files; a sentence for each that is none joins the problems."""
    found = []
    for path in files:
        try:
            content = parse_json(read_text(path, LARGEST_FILE))
            found.append(ReferenceTables.model_validate(content))
        except CabError as error:
            problems.append(str(error))
        except ValidationError as error:
            fault = first_fault(error, "the file")
            problems.append(f"{path} does not hold published tables: {fault}.")
        except (OSError, ValueError) as error:
            problems.append(f"{path} does not hold published tables: {error}.")
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
