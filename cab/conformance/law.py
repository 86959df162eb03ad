"""What a law is, and what it may say of a variant."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cab.conformance.subject import Subject


@dataclass(frozen=True)
class Finding:
    """A broken law: what was done, what moved, by how much, and what would have been allowed."""

    message: str
    moved: float | None = None
    limit: float | None = None

    def __str__(self) -> str:
        if self.moved is None:
            return self.message
        allowed = "" if self.limit is None else f" (allowed: {self.limit:.1e})"
        return f"{self.message}: {self.moved:.3g}{allowed}"


@dataclass(frozen=True)
class Measured:
    """Something that a law measured and that is worth knowing, broken or not."""

    name: str
    value: Any


Said = Iterator[Finding | Measured]


@dataclass(frozen=True)
class Law:
    """One law: `run` yields findings (none if it holds) and measurements.

    asks says whether it concerns a variant at all. shrinks says whether it is also held with the
    large sizes of the Config made small. gates says whether `cab run` refuses a variant
    that breaks it; a law that does not gate is shown and marked. rounds says whether it compares
    numbers, so that the precision in which a variant computes matters to it.
    """

    name: str
    summary: str
    run: Callable[[Subject], Said]
    asks: Callable[[Subject], bool] = lambda subject: True
    gates: bool = True
    shrinks: bool = False
    rounds: bool = True


def largest(x: Tensor) -> float:
    """The largest absolute entry: 0 if there is none, infinite if one is not a number."""
    if not x.numel():
        return 0.0
    value = x.detach().abs().amax().item()
    return math.inf if math.isnan(value) else float(value)


def relative_error(got: Tensor, expected: Tensor) -> float:
    """The norm of the difference over the norm of what is expected; infinite if not a number."""
    error = ((got - expected).norm() / expected.norm().clamp(min=1e-30)).item()
    return math.inf if math.isnan(error) else float(error)


def scale_of(x: Tensor) -> float:
    """The largest entry of a finite tensor, to measure differences by; at least a little."""
    value = largest(x)
    return value if 1e-30 < value < math.inf else 1.0
