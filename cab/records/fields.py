"""The types of the fields of records, with bounds: what passes can be printed, drawn and summed.

A record may come from anybody. Bounds are far beyond what any run gives, and near enough that no
sum or quotient of such numbers overflows a double.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from cab.records.text import is_safe, one_line

LARGEST = 1e30
"""The largest magnitude of a metric, a loss or a time in a record."""
LARGEST_INT = 2**63 - 1
"""The largest count in a record: MLflow and pandas hold 64 bits."""
LARGEST_SEED = 2**31 - 1
LONGEST_NAME = 200
LONGEST_TEXT = 20_000
"""Characters of a message or a command that are read."""
WRITTEN_TEXT = 2_000
"""Characters of a message or a command that are written; a published record may hold no more."""
LONGEST_VALUE = 1_000
"""Characters of a text in a recipe or a configuration."""
MOST_VALUES = 2_000
"""Values of a recipe or a configuration, those inside of lists and mappings among them."""
MOST_OPTIONS = 200
"""Values of what was set off its default: these stand in an entry's name."""
DEEPEST = 8
YEARS = range(1970, 2200)


def _safe(text: str) -> str:
    if not is_safe(text):
        raise ValueError("it holds control characters or other characters that cannot be shown")
    return text


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("it is not one line of text")
    return _safe(text)


def _in_years(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise ValueError(f"its year is not in {YEARS.start} to {YEARS.stop - 1}")
    return moment


Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INT)]
PositiveCount = Annotated[int, Field(ge=1, le=LARGEST_INT)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Version = Annotated[int, Field(ge=1, le=10**6)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_one_line)]
Line = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_one_line)]
"""A line that may be empty."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_safe)]
"""Several lines."""
Moment = Annotated[AwareDatetime, AfterValidator(_in_years)]


def _bounded(most: int, longest: int) -> Any:
    """A check of settings, which are whatever JSON holds: their number, depth, and each value."""

    def check(settings: Mapping[str, Any]) -> Mapping[str, Any]:
        waiting: list[tuple[Any, int]] = [(settings, 0)]
        seen = 0
        while waiting:
            value, depth = waiting.pop()
            seen += 1
            inside: list[Any] = []
            if isinstance(value, Mapping):
                inside = [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple):
                inside = list(value)
            else:
                _check_value(value, longest)
            if depth > DEEPEST or seen + len(waiting) + len(inside) > 2 * most:
                raise ValueError(f"it holds more than {most} values, or they are nested too deep")
            waiting += [(one, depth + 1) for one in inside]
        return settings

    return AfterValidator(check)


def _check_value(value: Any, longest: int) -> None:
    if isinstance(value, str):
        if len(value) > longest:
            raise ValueError(f"a text in it is longer than {longest} characters")
        _one_line(value)
    elif isinstance(value, int):
        if abs(value) > LARGEST_INT:
            raise ValueError("a whole number in it has more than 64 bits")
    elif isinstance(value, float) and not (math.isfinite(value) and abs(value) <= LARGEST):
        raise ValueError(f"a number in it is not finite, or beyond {LARGEST:g}")


Values = Annotated[Mapping[Name, Any], _bounded(MOST_VALUES, LONGEST_VALUE)]
"""A configuration or a recipe, complete."""
Options = Annotated[Mapping[Name, Any], _bounded(MOST_OPTIONS, LONGEST_NAME)]
"""What of it was set off its default."""


def first_fault(error: ValidationError, whole: str) -> str:
    """Say in a line what is first wrong with a document, and in which field.

    Args:
        whole: what to call the document itself.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or whole
    return f"{one_line(where, 100)}: {one_line(first['msg'].removeprefix('Value error, '))}"
