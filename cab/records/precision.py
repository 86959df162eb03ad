"""Published precision of decode states: results/precision.json, a variant a line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from cab.records.by_variant import MOST_VARIANTS, OfSource, read_by_variant
from cab.records.fields import Line, Name, NonNegative, Seed, Version
from cab.records.parts import Estimate, Part

FILE = "precision.json"
COMMAND = "cab probe --state-dtype --write"
MOST_TYPES = 20
MOST_TASKS = 200


class RoundedState(Part):
    """What a state that is stored in one type gives.

    lost: how much worse the metric is; score_lost: the same on the task's scale; error: the
    relative error of the logits over the last quarter of the longest sequences; size: bytes of
    one sequence's state after its last token.
    """

    lost: Estimate
    score_lost: Estimate
    error: NonNegative
    size: NonNegative


class Precision(Part):
    """A cell whose state was rounded after every step, by the name of the type.

    before: the metric without rounding; size: bytes of one sequence's state as it is. The cell is
    that of this seed and learning rate, of this version of the task in this profile.
    """

    version: Version
    profile: Name
    seed: Seed
    learning_rate: NonNegative
    metric: Name
    before: Estimate
    size: NonNegative
    rounded: Annotated[Mapping[Name, RoundedState], Field(min_length=1, max_length=MOST_TYPES)]


class MeasuredPrecision(OfSource):
    """A variant's precision by task, and the source, PyTorch and processor that it is of."""

    torch: Line
    processor: Line
    tasks: Annotated[Mapping[Name, Precision], Field(min_length=1, max_length=MOST_TASKS)]


_FILE: TypeAdapter[dict[str, MeasuredPrecision]] = TypeAdapter(
    Annotated[dict[Name, MeasuredPrecision], Field(max_length=MOST_VARIANTS)]
)


def read_precision(path: Path) -> dict[str, MeasuredPrecision]:
    """Read what was measured of each variant; nothing if there is no file.

    Raises:
        CabError: the file cannot be read, or holds something else.
    """
    return read_by_variant(path, _FILE, COMMAND)


def with_precision(
    stored: Mapping[str, MeasuredPrecision], name: str, new: MeasuredPrecision
) -> dict[str, MeasuredPrecision]:
    """Add what was measured of a variant.

    Its results on other tasks stay if they are of the same source, PyTorch and processor.
    """
    tasks = dict(new.tasks)
    old = stored.get(name)
    if old is not None and _conditions(old) == _conditions(new):
        tasks = {**old.tasks, **tasks}
    return {**stored, name: new.model_copy(update={"tasks": tasks})}


def _conditions(one: MeasuredPrecision) -> tuple[str, str, str]:
    return one.source, one.torch, one.processor
