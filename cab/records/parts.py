"""The parts that records are made of: what ran, what it gave, what it took, where.

A field that a later version adds has a default, so that records of before stay readable.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Status = Literal["ok", "oom", "timeout", "diverged", "unsupported", "error"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """What all parts share: a field that is not known is an error, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Part):
    """A mean over n examples, with its standard error."""

    value: Finite
    standard_error: Finite = Field(ge=0)
    n: int = Field(ge=1)

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Estimate the mean of independent values.

        Raises:
            ValueError: a value is not finite.
        """
        n = len(values)
        mean = math.fsum(values) / n
        variance = math.fsum((value - mean) ** 2 for value in values) / max(1, n - 1)
        return cls(value=mean, standard_error=math.sqrt(variance / n), n=n)


Estimates = Mapping[str, Estimate]


class CurvePoint(Part):
    """Where training stood: the mean loss since the last point, and validation if measured."""

    step: int
    loss: Finite
    valid: Mapping[str, Finite] = {}


class VariantInfo(Part):
    """Which mechanism: config is complete, options are what was set off its defaults.

    unchecked: it ran without the proof of conformance, and stays off every board.
    """

    name: str
    source_hash: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    parameters: int | None = None
    unchecked: bool = False


class TaskInfo(Part):
    """Which task, and a fingerprint of the validation and test examples it drew.

    source_hash: of a task that is not CAB's own; for CAB's own the version stands.
    """

    name: str
    version: int
    profile: str
    pattern: str
    domain: str
    metric: str
    higher_is_better: bool
    data_fingerprint: str | None = None
    source_hash: str | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialise: SerializerFunctionWrapHandler) -> Any:
        data = serialise(self)
        if self.source_hash is None:  # so that what was published before reads as it did
            data.pop("source_hash", None)
        return data


class Settings(Part):
    """The recipe that ran, complete, and what of it was set off the task's own."""

    recipe: Mapping[str, Any]
    changed: Mapping[str, Any]


class Positions(Part):
    """The mean loss, in nats, of the n tokens asked for at positions `first` to `last`, from 0."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    nats: Finite
    n: int = Field(ge=1)


class AtLength(Part):
    """The metric at `factor` times the training length, `length` tokens, or how that ended.

    positions is the loss along the sequence, where `cab extrapolate` measured it.
    """

    factor: Finite = Field(gt=0)
    length: int = Field(ge=1)
    status: Status = "ok"
    message: str = ""
    estimate: Estimate | None = None
    positions: tuple[Positions, ...] = ()

    @model_validator(mode="after")
    def _estimate_fits_status(self) -> "AtLength":
        if (self.status == "ok") != (self.estimate is not None):
            raise ValueError(f"status {self.status} does not go with the estimate given")
        return self


class Metrics(Part):
    """Means over the examples of validation and of test, by metric; the test at other lengths."""

    valid: Estimates = {}
    test: Estimates = {}
    lengths: tuple[AtLength, ...] = ()


class Cost(Part):
    """What a cell took.

    seconds is the time in training steps alone, total_seconds that of the whole cell. peak_bytes
    is the process's largest resident memory (on CUDA: the largest allocation). flops is the
    count of all training steps, by formula of the matrix products that ran.
    """

    seconds: Finite | None = None
    setup_seconds: Finite | None = None
    evaluation_seconds: Finite | None = None
    total_seconds: Finite
    steps: int | None = None
    tokens: int | None = None
    peak_bytes: int | None = None
    flops: int | None = None
    backbone_parameters: int | None = None


class Environment(Part):
    """Where a cell ran: so many processes, each of so many threads."""

    device: str
    accelerator: str
    cpu: str
    cores: int
    threads: int
    processes: int = Field(default=1, ge=1)
    platform: str
    python: str
    torch: str
    triton: str | None
    cab: str


class Provenance(Part):
    """How a cell came to run. invocation is shared by the cells of one command."""

    invocation: str
    command: str
    git_revision: str | None
    git_dirty: bool | None
    started: datetime
    ended: datetime


class Evaluation(Part):
    """One metric of the trained weights on something that is no task of CAB.

    harness says what measured it (such as `lm-eval`), task_version which form of its task;
    settings are all that it was told. standard_error is none where the harness gives none.
    """

    harness: str
    harness_version: str
    task: str
    task_version: str
    metric: str
    higher_is_better: bool | None
    value: Finite
    standard_error: Finite | None = Field(default=None, ge=0)
    n: int = Field(ge=1)
    settings: Mapping[str, Any] = {}

    @property
    def arrow(self) -> str:
        """Which way is better, as an arrow; nothing where neither is."""
        return {True: "\u2191", False: "\u2193", None: ""}[self.higher_is_better]
