"""Cells of tasks on published data at a tiny size, run in processes as `cab run` runs them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from cli_support import Log, environment

from cab.backbones.slots import Width
from cab.profiles import get_profile
from cab.records.store import Record, RecordStore
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell, Request, plan
from cab.running.execution import Runner

STEPS = 6
"""Of which every second is validated: enough for weights to be chosen or averaged."""


def tiny(
    name: str,
    *,
    variant: str = "softmax",
    profile: str = "full",
    dim: int = 8,
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
) -> Cell:
    """The cell of a task with its own training in six steps, narrow, on eight examples.

    data and model replace settings of the recipe's.
    """
    request = Request(variants=[variant], profile=get_profile(profile), tasks=[name])
    (cell,) = plan(request, discover_variants(), discover_tasks()).cells
    recipe, width = cell.recipe, cell.recipe.model.width
    small = replace(width, dim=dim, heads=2, layers=1, expansion=2)
    assert isinstance(small, Width)
    recipe = replace(
        recipe,
        data=replace(recipe.data, **(data or {})),
        model=replace(recipe.model, **{"width": small, **(model or {})}),
        train=replace(recipe.train, steps=STEPS, batch_size=2),
        valid_examples=3,
        test_examples=4,
        evaluation_batch=3,
        evaluations=3,
    )
    return replace(cell, recipe=recipe)


def run_tiny(home: Path, cells: Sequence[Cell]) -> dict[tuple[str, str], Record]:
    """Train, evaluate and record cells on the data sets below `home`, by variant and task."""
    store = RecordStore(home / "store")
    runner = Runner(store, home, "cpu", Log())
    with mock.patch.dict(os.environ, environment(HF_HOME=str(home / "cache")), clear=True):
        finished = runner.run(cells)
    found = {}
    for one in finished:
        assert one.record is not None, one.problem
        assert one.record.status == "ok", one.record.message
        assert store.read(one.cell.key) == one.record
        assert one.record.cost.steps == STEPS
        found[one.cell.variant.name, one.cell.task.name] = one.record
    return found
