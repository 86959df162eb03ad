"""A problem of a published file."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "look"]
Finding = tuple[Severity, str]


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where. An `error` stops a merge; a `look` asks a person to look."""

    severity: Severity
    where: str
    message: str
