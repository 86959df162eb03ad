"""The row of `cab bench`: one subject at one point, with every sample that was taken."""

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
"""Outcomes that fail a run; the others are answers."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(_Part):
    """Seconds. samples are cold (caches flushed), warm are not; low and high hold the median."""

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
    """Useful work of the pass, and the least time it takes here; see `cab.measure.flops`."""

    flops: int
    flops_by: Literal["formula", "count"]
    multiplier: Finite
    exponentials: int
    bytes: int
    ceiling_seconds: Finite
    serial_ceiling_seconds: Finite
    share: Finite | None


class MeasuredCeilings(_Part):
    """The rates of this device that the ceiling stands on, per second."""

    flops: Finite
    exponentials: Finite
    bytes: Mapping[int, Finite]


class Comparison(_Part):
    """Time over the baseline's time, paired by round, and peak bytes over its peak bytes."""

    time: Finite
    low: Finite
    high: Finite
    memory: Finite | None


class BenchRow(_Part):
    """What one subject gave at one point."""

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
        """Whether others held a core while it was sampled, for more than noise."""
        return self.waited is not None and self.waited > MOST

    @model_validator(mode="after")
    def _timed_if_ok(self) -> "BenchRow":
        if (self.status in ("ok", "impossible")) != (self.timing is not None):
            raise ValueError(f"status {self.status} does not go with the timing given")
        return self


def write_rows(rows: Iterable[BenchRow], path: Path) -> None:
    """Write rows to a file: one per line if it ends in .jsonl, else as one document.

    Raises:
        CabError: the file cannot be written.
    """
    try:
        if path.suffix == ".jsonl":  # hours may stand there, which a kill may not take
            with whole(path) as beside:
                beside.write_text(_lines(rows), encoding="utf-8")
        else:  # it may be a pipe
            plain = [row.model_dump(mode="json") for row in rows]
            text = json.dumps({"rows": plain}, indent=2, sort_keys=True, allow_nan=False) + "\n"
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from None


def append_rows(rows: Iterable[BenchRow], path: Path) -> None:
    """Add rows to a file of one per line.

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
    return CabError(f"The measurements cannot be written to {path}: {error}.")


def drop_cut_line(path: Path) -> bool:
    """Cut off a last line that a killed process left without its end; say whether there was one.

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
    """Read what `write_rows` wrote.

    Raises:
        CabError: the file is not that.
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
        raise CabError(f"{path} holds no measurements of `cab bench`: {first}.") from None
