"""Evaluations of trained weights: which two are of the same measurement, and which are not."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from cab.records.parts import Evaluation


class Evaluated(Protocol):
    """What holds evaluations, such as a record."""

    @property
    def evaluations(self) -> Sequence[Evaluation]:
        """The evaluations."""


R = TypeVar("R", bound=Evaluated)
Identity = tuple[str, str, str, str]
"""Harness, task, metric and settings."""


def told(one: Evaluation) -> str:
    """Write the settings by name, `few_shot 5, limit 10`; those that are None are left out."""
    return ", ".join(f"{name} {_text(value)}" for name, value in _settings(one))


def identity(one: Evaluation) -> Identity:
    """Return what tells evaluations apart; settings are equal in any order."""
    return one.harness, one.task, one.metric, json.dumps(_settings(one), sort_keys=True)


def title(one: Evaluation) -> str:
    """Name an evaluation by task, metric and settings, as in `cab_recall acc (limit 10)`."""
    settings = told(one)
    return f"{one.task} {one.metric}" + (f" ({settings})" if settings else "")


def replaced(before: Iterable[Evaluation], new: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """Add evaluations to others; of those that measured the same the new ones are kept."""
    names = {identity(one) for one in new}
    return (*(one for one in before if identity(one) not in names), *new)


def measurements(records: Iterable[R]) -> list[list[tuple[R, Evaluation]]]:
    """Group the evaluations of several records by what was measured, in the order of names.

    Members of a group are of one harness, task, metric and settings, in the same versions. Of
    several in a record the last counts.
    """
    groups: dict[tuple[str, ...], dict[int, tuple[R, Evaluation]]] = {}
    for number, record in enumerate(records):
        for one in record.evaluations:
            versions = (one.harness_version, one.task_version)
            measured = (one.task, one.metric, told(one), *identity(one), *versions)
            groups.setdefault(measured, {})[number] = record, one
    return [list(groups[measured].values()) for measured in sorted(groups)]


def _settings(one: Evaluation) -> list[tuple[str, Any]]:
    return sorted((name, value) for name, value in one.settings.items() if value is not None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
