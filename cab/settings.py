"""Read `--set key=value` into a frozen dataclass, strictly: unknown keys and wrong types raise."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from cab.errors import CabError, UnknownName

Settings = TypeVar("Settings")


def parse_settings(
    settings_class: type[Settings], options: Mapping[str, Any], owner: str
) -> Settings:
    """Build `settings_class` from `options` (texts or values), whose keys must be its fields.

    owner names the thing in error messages, for example "variant window".

    Raises:
        UnknownName: a key that is no field, with the nearest ones.
        CabError: a value of the wrong type or out of the range that the class checks.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [field.name for field in dataclasses.fields(settings_class)]  # type: ignore[arg-type]
    for key in options:
        if not known:
            raise CabError(f"{owner} has no settings; remove {key!r}.")
        if key not in known:
            raise UnknownName(f"setting of {owner}", key, known)
    try:
        return TypeAdapter(settings_class).validate_python(dict(options))
    except ValidationError as error:
        problems = "; ".join(
            _said(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()
        )
        raise CabError(f"Invalid settings of {owner}: {problems}.") from None


def _said(name: str, problem: str) -> str:
    problem = problem.removeprefix("Value error, ").rstrip(".")
    return f"{name}: {problem}" if name else problem


def split_assignments(assignments: list[str], option: str = "--set") -> dict[str, str]:
    """Turn ["window=8", "train.steps=10"] into a mapping; the last of equal keys wins.

    Raises:
        CabError: one is no KEY=VALUE, with the option that was given it.
    """
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise CabError(f"{option} {assignment!r} is not of the form KEY=VALUE.")
        pairs[key.strip()] = value.strip()
    return pairs
