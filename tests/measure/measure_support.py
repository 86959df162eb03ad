"""Planting operators and implementations with faults, and cells small enough for a test."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import torch

from cab.kernels.operator import Implementation, Operator
from cab.kernels.softmax.api import OPERATOR as SOFTMAX
from cab.measure import operators
from cab.measure.cell import run
from cab.measure.points import Cell, Limits, MechanismName, Point
from cab.measure.record import BenchRow
from cab.taxonomy import Pattern

QUICK = Limits(samples=20, seconds=0.0, warm_seconds=0.0, cell_seconds=600.0)
Run = Callable[..., torch.Tensor]


def point(passage: str = "fwd_no_grad", length: int = 48, **changes: Any) -> Point:
    """A small point whose sizes all differ."""
    sizes = {"batch": 2, "heads": 3, "head_width": 8, "value_width": 5, **changes}
    pattern = Pattern(sizes.pop("pattern", "cs"))
    return Point(pattern, passage, length, **sizes)  # type: ignore[arg-type]


def planted(
    run_of: Callable[[Run], Run], base: Operator = SOFTMAX, correct: str = "sdpa", **changes: Any
) -> Operator:
    """An operator with one more implementation, `planted`, made of a correct one's call."""
    true = base.implementations[correct]
    fault = Implementation(lambda case: run_of(true.prepare(case)), true.refuses)
    return dataclasses.replace(
        base, implementations={**base.implementations, "planted": fault}, **changes
    )


def known_as(operator: Operator) -> Any:
    """A context in which the harness knows this operator, in the place of its own."""
    known: Mapping[str, Any] = {**operators.operators(), operator.name: operator}
    return mock.patch.object(operators, "operators", return_value=known)


def cell_of(
    names: list[str], at: Point, baselines: tuple[str, ...] = (), limits: Limits = QUICK
) -> Cell:
    """A cell of mechanisms, each OPERATOR:IMPLEMENTATION or a variant."""
    mechanisms = []
    for text in names:
        operator, colon, implementation = text.partition(":")
        mechanisms.append(
            MechanismName(implementation, operator) if colon else MechanismName(text)
        )
    candidates = frozenset(names) - frozenset(baselines)
    return Cell(at, tuple(mechanisms), candidates, frozenset(baselines), limits, 0, 1)


def rows_of(*arguments: Any, **options: Any) -> dict[str, BenchRow]:
    """Measure a cell in this process; its rows by mechanism."""
    threads = torch.get_num_threads()
    try:
        return {row.subject: row for row in run(cell_of(*arguments, **options))}
    finally:
        torch.set_num_threads(threads)
