"""The row of `cab bench`: one mechanism at one point, with all its samples."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cab.errors import CabError
from cab.measure.waits import MOST
from cab.records.files import whole
from cab.records.store import Environment

Status = Literal["ok", "oom", "timeout", "unsupported", "refused", "impossible", "error"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
FAILURES: tuple[Status, ...] = ("refused", "impossible", "error")
"""Statuses that make `cab bench` exit with 1."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(_Part):
    """Times in seconds. samples are cold; low and high bound the median's 95 % interval."""

    timer: str
    samples: tuple[Finite, ...]
    host_samples: tuple[Finite, ...]
    warm_samples: tuple[Finite, ...]
    median: Finite
    low: Finite
    high: Finite
    p20: Finite
    p80: Finite
    warm_median: Finite | None
    tokens_per_second: Finite
    prepare_seconds: Finite
    launch_bound: bool
    noise_floor: Finite


class MemoryUse(_Part):
    """Bytes; see `cab.measure.memory`."""

    peak: int
    workspace: int
    outputs: int
    saved: int | None
    held: int | None
    state: int | None


class Work(_Part):
    """Useful work of the pass, and the least time it can take here; see `cab.measure.flops`."""

    flops: int
    flops_by: Literal["formula", "count"]
    multiplier: Finite
    exponentials: int
    bytes: int
    ceiling_seconds: Finite
    serial_ceiling_seconds: Finite
    share: Finite | None


class MeasuredCeilings(_Part):
    """The measured rates of this device, per second, from which the least time follows."""

    flops: Finite
    exponentials: Finite
    bytes: Mapping[int, Finite]


class Comparison(_Part):
    """Time relative to the baseline's, paired by round, and peak memory relative to its."""

    time: Finite
    low: Finite
    high: Finite
    memory: Finite | None


class BenchRow(_Part):
    """The result of one mechanism at one point; `subject` is the mechanism's label."""

    schema_version: Literal[1] = 1
    subject: str
    role: Literal["candidate", "baseline"]
    operator: str
    name: str
    options: Mapping[str, str]
    source_hash: str | None = None
    unchecked: bool = False
    pattern: str
    passage: str
    length: int
    keys: int
    batch: int
    heads: int
    key_heads: int
    head_width: int
    value_width: int
    window: int
    alignment: str
    dtype: str
    status: Status
    message: str = ""
    timing: Timing | None = None
    memory: MemoryUse | None = None
    work: Work | None = None
    ceilings: MeasuredCeilings | None = None
    against: Mapping[str, Comparison] = {}
    gate_error: Finite | None = None
    gate_limit: Finite | None = None
    seed: int
    load: Finite | None = None
    waited: Finite | None = None
    device_state: Mapping[str, Finite] = {}
    environment: Environment
    invocation: str = ""
    command: str = ""
    git_revision: str | None = None
    git_dirty: bool | None = None
    measured: datetime

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
    try:
        if path.suffix == ".jsonl":  # a kill must not destroy hours of measurements
            with whole(path) as beside:
                beside.write_text(_lines(rows), encoding="utf-8")
        else:  # it may be a pipe
            plain = [row.model_dump(mode="json") for row in rows]
            text = json.dumps({"rows": plain}, indent=2, sort_keys=True, allow_nan=False) + "\n"
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from None


def append_rows(rows: Iterable[BenchRow], path: Path) -> None:
    """Append rows to a file with one row per line.

    Raises:
        CabError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(_lines(rows))
    except OSError as error:
        raise _unwritten(path, error) from None


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
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines() if path.suffix == ".jsonl" else ()
        content: list[Any] = [json.loads(line) for line in lines]
        if path.suffix != ".jsonl":
            content = json.loads(text)["rows"]
        return [BenchRow.model_validate(one) for one in content]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise CabError(f"{path} is not a file of `cab bench` measurements: {first}.") from None
