"""The result record: what one cell gave, as a checked JSON file.

Records are the truth; MLflow and every table are made from them. A record is named by its cell's
key, written beside its place, flushed and renamed, so that a reader sees all of it or none.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import Field, ValidationError, model_validator

from cab.errors import CabError
from cab.records.copies import without_copies
from cab.records.evaluations import replaced
from cab.records.fields import Finite, Seed, Text, first_fault
from cab.records.files import parse_json, read_text, whole
from cab.records.parts import (
    AtLength,
    AtLevel,
    Cost,
    CurvePoint,
    Environment,
    Estimate,
    Estimates,
    Evaluation,
    Metrics,
    Part,
    Positions,
    Provenance,
    Settings,
    Status,
    TaskInfo,
    VariantInfo,
)
from cab.records.text import one_line

__all__ = [
    "SCHEMA_VERSION",
    "AtLength",
    "AtLevel",
    "Cost",
    "CurvePoint",
    "Environment",
    "Estimate",
    "Estimates",
    "Evaluation",
    "Finite",
    "Metrics",
    "Positions",
    "Provenance",
    "Record",
    "RecordStore",
    "Settings",
    "Status",
    "TaskInfo",
    "VariantInfo",
    "parse_record",
]

SCHEMA_VERSION = 1
LARGEST_FILE = 50_000_000
"""Bytes of a record's file that are read: a thousand times what a cell gives."""
MOST_POINTS = 20_000
"""Points of a training curve."""
MOST_EVALUATIONS = 10_000


class Record(Part):
    """The outcome of one cell: variant x task x profile x settings x seed."""

    schema_version: Literal[1] = 1
    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    variant: VariantInfo
    task: TaskInfo
    seed: Seed
    settings: Settings
    status: Status
    message: Text = ""
    metrics: Metrics = Metrics()
    shortcuts: Estimates = Field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = Field(default=(), max_length=MOST_EVALUATIONS)
    curve: tuple[CurvePoint, ...] = Field(default=(), max_length=MOST_POINTS)
    cost: Cost
    environment: Environment
    provenance: Provenance

    @model_validator(mode="after")
    def _metrics_fit_status(self) -> "Record":
        if (self.status == "ok") != bool(self.metrics.test):
            raise ValueError(f"status {self.status} does not go with the test metrics given")
        for part, found in (("test", self.metrics.test), ("valid", self.metrics.valid)):
            if found and self.task.metric not in found:
                raise ValueError(f"the {part} metrics lack {self.task.metric}, the task's own")
        steps = [point.step for point in self.curve]
        if any(before >= after for before, after in itertools.pairwise(steps)):
            raise ValueError("the steps of the curve do not increase")
        return self

    def to_json(self) -> str:
        """The canonical text: sorted keys, two spaces, a final newline."""
        data = self.model_dump(mode="json")
        return json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n"


class RecordStore:
    """The records of one folder, a file each: <store>/records/<key>.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "records"
        self.locks = root / "locks"

    def path(self, key: str) -> Path:
        """Where the record of a key stands."""
        return self.folder / f"{key}.json"

    def read(self, key: str) -> Record | None:
        """Return the record of a key, or None if there is none.

        Raises:
            CabError: there is a file, and it is not a record that this version reads.
        """
        path = self.path(key)
        try:
            text = read_text(path, LARGEST_FILE)
        except FileNotFoundError:
            return None
        return parse_record(text, path)

    def write(self, record: Record, space: Path | None = None) -> Path:
        """Put a record in its place, all of it or nothing.

        Args:
            space: a file on the same disk whose room the record takes, and which is gone then.

        Raises:
            CabError: the folder cannot be written, or a file that is no record stands there.
        """
        path = self.path(record.key)
        self.read(record.key)  # a foreign file in this place is not overwritten
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            room = space if space is not None and space.exists() else None
            with whole(path, room) as beside, beside.open("r+b") as file:
                file.write(record.to_json().encode())
                file.truncate()
        except OSError as error:
            raise CabError(f"The record {path} could not be written: {error}.") from None
        return path

    def add_evaluations(self, key: str, evaluations: Sequence[Evaluation]) -> Record | None:
        """Add evaluations to the record of a cell; those of the same measurement are replaced.

        Returns:
            the record, or None where there is none of this cell.
        """

        def add(record: Record) -> Record:
            found = replaced(record.evaluations, evaluations)
            return record.model_copy(update={"evaluations": found})

        return self.change(key, add)

    def change(self, key: str, how: Callable[[Record], Record]) -> Record | None:
        """Change the record of a cell, alone of all processes that change it in this way.

        Returns:
            the changed record, or None where there is none of this cell.

        Raises:
            CabError: the changed record is not as records are, or cannot be written.
        """
        if not self.path(key).exists():
            return None
        try:
            self.locks.mkdir(parents=True, exist_ok=True)
            with FileLock(self.locks / f"{key}.change") as lock:
                record = self.read(key)
                if record is not None:
                    record = Record.model_validate(how(record).model_dump())
                    self.write(record)
                Path(lock.lock_file).unlink(missing_ok=True)
                return record
        except ValidationError as error:
            fault = first_fault(error, "the record")
            raise CabError(f"{self.path(key)} was left unchanged: {fault}.") from None
        except OSError as error:
            raise CabError(f"The record {self.path(key)} could not be written: {error}.") from None

    def scan(self) -> Iterator[Record | CabError]:
        """Yield every record in the order of names; a file that is none comes as its error."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                record = self.read(path.stem)
            except CabError as error:
                yield error
                continue
            if record is not None:
                yield record

    def load(self) -> tuple[list[Record], list[str]]:
        """Return all records, and a sentence for each file that is none or not to be counted."""
        records: list[Record] = []
        problems: list[str] = []
        for item in self.scan():
            if isinstance(item, Record):
                records.append(item)
            else:
                problems.append(str(item))
        kept, copies = without_copies((self.path(one.key), one) for one in records)
        return kept, [*problems, *copies]


def with_evaluations_of(before: Record, record: Record) -> Record:
    """Keep what else was asked of trained weights in the record of a run that gave the same ones.

    They are the same if every loss on the way and every result are, to the bit; else nothing is
    kept, since it would be said of other weights.
    """
    if (before.curve, before.metrics.test) != (record.curve, record.metrics.test):
        return record
    metrics = record.metrics
    if len(before.metrics.lengths) > len(metrics.lengths):  # `cab extrapolate` asks at more
        metrics = metrics.model_copy(update={"lengths": before.metrics.lengths})
    return record.model_copy(update={"evaluations": before.evaluations, "metrics": metrics})


def parse_record(text: str, path: Path) -> Record:
    """Read a record's text.

    Raises:
        CabError: it is cut short, foreign, or of a newer schema; the message says which.
    """
    try:
        data = parse_json(text)
    except ValueError as error:
        raise CabError(
            f"{path} is not a whole JSON document ({error}); it was skipped and left unchanged. "
            f"If a run was interrupted, delete the file and rerun the command."
        ) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CabError(
            f"{path} has schema version {one_line(str(version), 20)}; this version of CAB reads "
            f"{SCHEMA_VERSION}. It was skipped and left as it is. Upgrade CAB to read it."
        )
    try:
        record = Record.model_validate(data)
    except ValidationError as error:
        raise CabError(
            f"{path} is not a CAB record ({first_fault(error, 'the document')}, and "
            f"{error.error_count() - 1} more); it was skipped and left as it is."
        ) from None
    if record.key != path.stem:
        raise CabError(
            f"{path} holds the record of another key, {record.key}; it was skipped and left as "
            f"it is. Rename it {record.key}.json."
        )
    return record
