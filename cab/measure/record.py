"""The row of `cab bench`: one mechanism at one point, with all its samples."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from cab.errors import CabError
from cab.measure.waits import MOST
from cab.records.fields import (
    LARGEST,
    Count,
    Finite,
    Line,
    Moment,
    Name,
    NonNegative,
    Options,
    PositiveCount,
    Seed,
    Text,
    first_fault,
)
from cab.records.files import parse_json, read_text, whole, write_file
from cab.records.parts import Part
from cab.records.store import Environment
from cab.records.text import one_line
from cab.taxonomy import Pattern

Status = Literal["ok", "oom", "timeout", "unsupported", "refused", "impossible", "error"]
Time = Annotated[float, Field(ge=1e-15, le=LARGEST, allow_inf_nan=False)]
"""Seconds, or a ratio of two times: above 0, so that it can be divided by and drawn."""
Samples = Annotated[tuple[NonNegative, ...], Field(max_length=100_000)]
Rates = Annotated[Mapping[Name, Finite], Field(max_length=100)]
LARGEST_FILE = 200_000_000
"""Bytes of a file of measurements that are read."""
FAILURES: tuple[Status, ...] = ("refused", "impossible", "error")
"""Statuses that make `cab bench` exit with 1."""


class Timing(Part):
    """Times in seconds. samples are cold; low and high bound the median's 95 % interval."""

    timer: Line
    samples: Samples
    host_samples: Samples
    warm_samples: Samples
    median: Time
    low: Time
    high: Time
    p20: Time
    p80: Time
    warm_median: Time | None
    tokens_per_second: NonNegative
    prepare_seconds: NonNegative
    launch_bound: bool
    noise_floor: NonNegative


class MemoryUse(Part):
    """Bytes; see `cab.measure.memory`."""

    peak: Count
    workspace: Count
    outputs: Count
    saved: Count | None
    held: Count | None
    state: Count | None


class Work(Part):
    """Useful work of the pass, and the least time it can take here; see `cab.measure.flops`."""

    flops: Count
    flops_by: Literal["formula", "count"]
    multiplier: NonNegative
    exponentials: Count
    bytes: Count
    ceiling_seconds: NonNegative
    serial_ceiling_seconds: NonNegative
    share: NonNegative | None


class MeasuredCeilings(Part):
    """The measured rates of this device, per second, from which the least time follows."""

    flops: NonNegative
    exponentials: NonNegative
    bytes: Annotated[Mapping[Count, NonNegative], Field(max_length=1_000)]


class Comparison(Part):
    """Time relative to the baseline's, paired by round, and peak memory relative to its."""

    time: Time
    low: Time
    high: Time
    memory: NonNegative | None


class BenchRow(Part):
    """The result of one mechanism at one point; `subject` is the mechanism's label."""

    schema_version: Literal[1] = 1
    subject: Name
    role: Literal["candidate", "baseline"]
    operator: Line
    name: Line
    options: Options
    source_hash: Line | None = None
    unchecked: bool = False
    pattern: Pattern
    passage: Name
    length: PositiveCount
    keys: Count
    batch: Count
    heads: Count
    key_heads: Count
    head_width: Count
    value_width: Count
    window: Count
    alignment: Line
    dtype: Line
    status: Status
    message: Text = ""
    timing: Timing | None = None
    memory: MemoryUse | None = None
    work: Work | None = None
    ceilings: MeasuredCeilings | None = None
    against: Annotated[Mapping[Name, Comparison], Field(max_length=1_000)] = {}
    gate_error: NonNegative | None = None
    gate_limit: NonNegative | None = None
    seed: Seed
    load: NonNegative | None = None
    waited: NonNegative | None = None
    device_state: Rates = Field(default={})
    environment: Environment
    invocation: Line = ""
    command: Text = ""
    git_revision: Line | None = None
    git_dirty: bool | None = None
    measured: Moment

    @property
    def disturbed(self) -> bool:
        """Whether other processes kept a thread waiting for too long while it was sampled."""
        return self.waited is not None and self.waited > MOST

    @model_validator(mode="after")
    def _timed_if_ok(self) -> "BenchRow":
        if (self.status in ("ok", "impossible")) != (self.timing is not None):
            raise ValueError(f"status {self.status} contradicts the timing")
        return self


def write_rows(rows: Iterable[BenchRow], path: Path) -> None:
    """Write rows to a file: one per line if its name ends in .jsonl, otherwise one document.

    Raises:
        CabError: the file cannot be written.
    """
    rows = list(rows)
    text = _lines(rows)
    if path.suffix != ".jsonl":
        plain = [row.model_dump(mode="json") for row in rows]
        text = json.dumps({"rows": plain}, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_file(path, text, "The measurements")


def append_rows(rows: Iterable[BenchRow], path: Path) -> None:
    """Append rows to a file with one row per line.

    Raises:
        CabError: the file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                _write_all(file, _lines(rows).encode())
            except OSError:  # the disk is full: a part of a row is of no use
                file.truncate(before)
                raise
    except OSError as error:
        raise _unwritten(path, error) from None


def _write_all(file: io.FileIO, content: bytes) -> None:
    while content:
        content = content[file.write(content) :]


def _lines(rows: Iterable[BenchRow]) -> str:
    plain = (row.model_dump(mode="json") for row in rows)
    return "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in plain)


def _unwritten(path: Path, error: OSError) -> CabError:
    return CabError(f"Cannot write the measurements to {path}: {error}.")


def drop_cut_line(path: Path) -> bool:
    """Remove an incomplete last line that a killed process left; return whether there was one.

    Raises:
        CabError: the file cannot be read or written.
    """
    try:
        content = path.read_bytes()
        kept = content[: content.rfind(b"\n") + 1]
        if kept != content:
            with whole(path) as beside:
                beside.write_bytes(kept)
    except OSError as error:
        raise _unwritten(path, error) from None
    return kept != content


def read_rows(path: Path) -> list[BenchRow]:
    """Read the rows that `write_rows` wrote.

    Raises:
        CabError: the file cannot be read, or holds something else.
    """
    try:
        text = read_text(path, LARGEST_FILE)
        lines = text.rstrip("\n").split("\n") if path.suffix == ".jsonl" and text else ()
        content: list[Any] = [parse_json(line) for line in lines]
        if path.suffix != ".jsonl":
            content = parse_json(text)["rows"]
        return [BenchRow.model_validate(one) for one in content]
    except ValidationError as error:
        first = first_fault(error, "a row")
    except (OSError, ValueError, KeyError, TypeError) as error:
        first = one_line(str(error)) or type(error).__name__
    raise CabError(f"{path} is not a file of `cab bench` measurements: {first}.")
