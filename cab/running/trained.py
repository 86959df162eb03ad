"""Trained cells, made again from their checkpoints."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cab.backbones.slots import Slots
from cab.data import require
from cab.errors import CabError, counted
from cab.registry import Registry
from cab.running import checkpoints
from cab.running.cells import Cell
from cab.running.replanning import cell_of
from cab.running.worker import slots_for
from cab.seeding import seed_all
from cab.task import Task
from cab.taxonomy import TaskCard, VariantCard


@dataclass(frozen=True)
class TrainedCell:
    """A cell, its task, and its model with the trained weights, in evaluation mode."""

    cell: Cell
    task: Task
    model: nn.Module


def assemble(
    cell: Cell, task: Task, variants: Registry[VariantCard] | None = None
) -> tuple[nn.Module, Slots]:
    """Build a cell's model as its own process does, without touching this one's random state.

    Returns:
        the model, and the slots that were filled in it.
    """
    with torch.random.fork_rng(devices=[]):
        cpu = torch.device("cpu")
        seed_all(cpu, cell.task.name, cell.task.version, "model", cell.seed)
        slots = slots_for(cell, task, variants)
        return task.build(slots), slots


def build_model(cell: Cell, task: Task) -> nn.Module:
    """Build a cell's model alone; see `assemble`."""
    return assemble(cell, task)[0]


def restore(
    manifest: Path,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    data_dir: Path,
    include: tuple[Path, ...] = (),
) -> TrainedCell:
    """Build the model of a checkpoint (its JSON file) and put the weights in.

    Raises:
        CabError: the checkpoint is broken, its data is not here, its weights are not finite, or no
            cell of today is the one that it was trained as: its source, recipe or settings have
            changed.
    """
    kept = checkpoints.read(manifest)
    cell = cell_of(kept, variants, tasks, include, unchecked=kept.variant.unchecked)
    require(cell.task.data, data_dir)
    task_class = tasks.load(cell.task.name)
    assert issubclass(task_class, Task)
    task = task_class(cell.recipe, data_dir)
    model = build_model(cell, task)
    checkpoints.load(manifest, model, cell)
    if bad := [name for name, one in model.named_parameters() if not one.isfinite().all()]:
        raise CabError(
            f"The weights of {cell.title} in {manifest} hold numbers that are not finite ({bad[0]}"
            f" is the first of {counted(len(bad), 'parameter')}), so nothing can be measured."
        )
    return TrainedCell(cell, task, model.eval())
