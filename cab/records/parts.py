"""The parts that records are made of: what ran, what it gave, what it took, where.

A field that a later version adds has a default, so that records of before stay readable.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cab.errors import CabError
from cab.records.fields import (
    Count,
    Finite,
    Line,
    Moment,
    Name,
    NonNegative,
    Options,
    PositiveCount,
    Text,
    Values,
    Version,
    first_fault,
)
from cab.records.text import one_line

Status = Literal["ok", "oom", "timeout", "diverged", "unsupported", "error"]
MOST_METRICS = 100
"""Metrics or shortcuts of a record."""
MOST_POSITIONS = 10_000
MOST_LENGTHS = 100
MOST_LEVELS = 50
LARGEST_FACTOR = 1e6


class Part(BaseModel):
    """What all parts share: a field that is not known is an error, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Part):
    """A mean over n examples, with its standard error."""

    value: Finite
    standard_error: NonNegative
    n: PositiveCount

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Estimate the mean of independent values.

        Raises:
            ValueError: a value is not finite, or beyond `cab.records.fields.LARGEST`.
        """
        n = len(values)
        mean = math.fsum(values) / n
        variance = math.fsum((value - mean) ** 2 for value in values) / max(1, n - 1)
        return cls(value=mean, standard_error=math.sqrt(variance / n), n=n)

    @classmethod
    def mean(cls, parts: Sequence["Estimate"]) -> "Estimate":
        """Estimate the mean of several independent means, which weigh the same."""
        return cls(
            value=math.fsum(one.value for one in parts) / len(parts),
            standard_error=math.hypot(*(one.standard_error for one in parts)) / len(parts),
            n=sum(one.n for one in parts),
        )


Estimates = Annotated[Mapping[Name, Estimate], Field(max_length=MOST_METRICS)]


class CurvePoint(Part):
    """Where training stood: the mean loss since the last point, and validation if measured."""

    step: PositiveCount
    loss: Finite
    valid: Annotated[Mapping[Name, Finite], Field(max_length=MOST_METRICS)] = {}


class VariantInfo(Part):
    """Which mechanism: config is complete, options are what was set off its defaults.

    unchecked: the laws were not checked first, so its results are on no board.
    """

    name: Name
    source_hash: Name
    config: Values
    options: Options
    parameters: Count | None = None
    unchecked: bool = False


class TaskInfo(Part):
    """Which task, and a fingerprint of the validation and test examples it drew.

    source_hash: of a task that is not CAB's own; for CAB's own the version stands.
    """

    name: Name
    version: Version
    profile: Name
    pattern: Name
    domain: Name
    metric: Name
    higher_is_better: bool
    data_fingerprint: Line | None = None
    source_hash: Line | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialise: SerializerFunctionWrapHandler) -> Any:
        data = serialise(self)
        if self.source_hash is None:  # so that what was published before reads as it did
            data.pop("source_hash", None)
        return data


class Settings(Part):
    """The recipe that ran, complete, and what of it was set off the task's own."""

    recipe: Values
    changed: Options


class Positions(Part):
    """The mean loss, in nats, of the n tokens asked for at positions `first` to `last`, from 0."""

    first: Count
    last: Count
    nats: Finite
    n: PositiveCount


class AtLength(Part):
    """The metric at `factor` times the training length, `length` tokens, or how that ended.

    positions is the loss along the sequence, where `cab extrapolate` measured it.
    """

    factor: Annotated[float, Field(gt=0, le=LARGEST_FACTOR, allow_inf_nan=False)]
    length: PositiveCount
    status: Status = "ok"
    message: Text = ""
    estimate: Estimate | None = None
    positions: tuple[Positions, ...] = Field(default=(), max_length=MOST_POSITIONS)

    @model_validator(mode="after")
    def _estimate_fits_status(self) -> "AtLength":
        if (self.status == "ok") != (self.estimate is not None):
            raise ValueError(f"status {self.status} does not go with the estimate given")
        ends = [-1, *(place for part in self.positions for place in (part.first, part.last))]
        if any(before > after for before, after in itertools.pairwise(ends)):
            raise ValueError("the positions do not follow one another")
        return self


class AtLevel(Part):
    """The task's metric at one of its levels, counted from 1, and what shortcuts reach there.

    name says what the level is made of, such as `length 32, pairs 8`.
    """

    level: PositiveCount
    name: Line
    valid: Estimate
    test: Estimate
    shortcuts: Estimates = {}


class Metrics(Part):
    """Means over the examples of validation and of test, by metric; the test at other lengths.

    Of a task with levels, valid and test are means over the levels, each of which weighs the same.
    """

    valid: Estimates = {}
    test: Estimates = {}
    lengths: tuple[AtLength, ...] = Field(default=(), max_length=MOST_LENGTHS)
    levels: tuple[AtLevel, ...] = Field(default=(), max_length=MOST_LEVELS)

    @model_validator(mode="after")
    def _levels_are_counted(self) -> "Metrics":
        if [one.level for one in self.levels] != list(range(1, len(self.levels) + 1)):
            raise ValueError("the levels are not counted from 1")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialise: SerializerFunctionWrapHandler) -> Any:
        data = serialise(self)
        if not self.levels:  # so that what was published before reads as it did
            data.pop("levels", None)
        return data


class Cost(Part):
    """What a cell took.

    seconds is the time in training steps alone, data_seconds what of it was waiting for batches,
    total_seconds that of the whole cell. peak_bytes is the process's largest resident memory (on
    CUDA: the largest allocation). flops is the count of all training steps, by formula of the
    matrix products that ran.
    """

    seconds: NonNegative | None = None
    data_seconds: NonNegative | None = None
    setup_seconds: NonNegative | None = None
    evaluation_seconds: NonNegative | None = None
    total_seconds: NonNegative
    steps: Count | None = None
    tokens: Count | None = None
    peak_bytes: Count | None = None
    flops: Count | None = None
    backbone_parameters: Count | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialise: SerializerFunctionWrapHandler) -> Any:
        data = serialise(self)
        if self.data_seconds is None:  # so that what was published before reads as it did
            data.pop("data_seconds", None)
        return data


class Environment(Part):
    """Where a cell ran: so many processes, each of so many threads."""

    device: Name
    accelerator: Line
    cpu: Line
    cores: Count
    threads: Count
    processes: PositiveCount = 1
    platform: Line
    python: Line
    torch: Line
    triton: Line | None
    cab: Line


class Provenance(Part):
    """How a cell came to run. invocation is shared by the cells of one command."""

    invocation: Line
    command: Text
    git_revision: Line | None
    git_dirty: bool | None
    started: Moment
    ended: Moment


class Evaluation(Part):
    """One metric of the trained weights on something that is no task of CAB.

    harness says what measured it (such as `lm-eval`), task_version which form of its task;
    settings are all that it was told. standard_error is none where the harness gives none.
    """

    harness: Name
    harness_version: Line
    task: Name
    task_version: Line
    metric: Name
    higher_is_better: bool | None
    value: Finite
    standard_error: NonNegative | None = None
    n: PositiveCount
    settings: Options = {}

    @classmethod
    def of(cls, **fields: Any) -> "Evaluation":
        """Make one of what a harness gave.

        Raises:
            CabError: a field is not as records hold it, such as a value that is not a number.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            fault = first_fault(error, "the evaluation")
            task, metric = (one_line(str(fields[name]), 100) for name in ("task", "metric"))
            raise CabError(
                f"The {metric} of {task} cannot be recorded: {fault}. Nothing was recorded."
            ) from None

    @property
    def arrow(self) -> str:
        """Which way is better, as an arrow; nothing where neither is."""
        return {True: "\u2191", False: "\u2193", None: ""}[self.higher_is_better]
