"""How large planned cells are, and about how long they take: from published times, or counted.

All of it is of the task's network with the reference in the layers under test. Other mechanisms
have more or fewer parameters and take more or less time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch

from cab.attention import Attention
from cab.data import get_data_set, locate
from cab.records.rates import rate_of
from cab.records.store import Record
from cab.registry import Registry
from cab.running.cells import Cell
from cab.running.facts import count_parameters, training_work
from cab.running.fitting import slots_of
from cab.task import Task
from cab.taxonomy import TaskCard

OPERATIONS = 1e13
"""Operations a second that are assumed of one GPU in float32: a part of the peak of today's, which
networks of this size do not reach."""

STEP = 0.01
"""Seconds that a training step is assumed to take at least, to start its kernels."""

Basis = Literal["published", "counted", ""]


@dataclass(frozen=True)
class Size:
    """A task in a profile with the reference; None stands for what is not known.

    parameters are those of the whole network; tokens and operations those of all training steps.
    seconds is an estimate of a cell. basis: it is the mean of published cells of this recipe, or
    follows from the operations, of training alone, at OPERATIONS and at least STEP a step.
    """

    task: str
    parameters: int | None
    tokens: int | None
    operations: int | None
    seconds: float | None
    basis: Basis
    missing: tuple[str, ...]


def sizes(
    cells: Sequence[Cell],
    reference: type,
    tasks: Registry[TaskCard],
    directory: Path,
    published: Iterable[Record],
) -> list[Size]:
    """The size of each task among cells, in their order.

    Args:
        reference: the attention that fills the layers under test.
        directory: the folder of the data sets.
        published: records of the reference.
    """
    assert issubclass(reference, Attention)
    records = [record for record in published if record.status == "ok"]
    firsts: dict[str, Cell] = {}
    for cell in cells:
        firsts.setdefault(cell.task.name, cell)
    found = []
    for name, cell in firsts.items():
        missing = tuple(one for one in cell.task.data if not locate(get_data_set(one), directory))
        own = [record for record in records if _same(record, cell)]
        task = tasks.load(name)
        assert issubclass(task, Task)
        found.append(
            _published(cell, own, missing)
            if own
            else _counted(task(cell.recipe, directory), reference, missing)
        )
    return found


def _same(record: Record, cell: Cell) -> bool:
    """Whether a record is of a cell's task and recipe, at any of its rates."""
    if (record.task.name, record.task.version) != (cell.task.name, cell.task.version):
        return False
    return bool(cell.recipe.at_rate(rate_of(record)).as_dict() == record.settings.recipe)


def _published(cell: Cell, records: Sequence[Record], missing: tuple[str, ...]) -> Size:
    one = records[0]
    parameters = (one.variant.parameters or 0) + (one.cost.backbone_parameters or 0)
    return Size(
        cell.task.name,
        parameters or None,
        one.cost.tokens,
        one.cost.flops,
        fmean(record.cost.total_seconds for record in records),
        "published",
        missing,
    )


def _counted(task: Task, reference: type[Attention], missing: tuple[str, ...]) -> Size:
    name, parameters, operations, tokens = task.card.name, None, None, None
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = task.build(slots_of(task, reference))
        parameters = count_parameters([model])
        if not missing:
            operations, tokens = training_work(task, model, "meta")
    except Exception:  # a task of the user's may do what has no shape without numbers
        return Size(name, parameters, None, None, None, "", missing)
    if operations is None:
        return Size(name, parameters, None, None, None, "", missing)
    seconds = max(operations / OPERATIONS, STEP * task.recipe.train.steps)
    return Size(name, parameters, tokens, operations, seconds, "counted", missing)


def data_needed(cells: Iterable[Cell]) -> list[str]:
    """The data sets that some cells need, each once."""
    return list(dict.fromkeys(name for cell in cells for name in cell.task.data))
