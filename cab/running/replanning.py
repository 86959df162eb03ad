"""The cell of a record or a checkpoint, planned anew from what is installed."""

import dataclasses
import json
from pathlib import Path

from cab.errors import CabError
from cab.profiles import get_profile
from cab.records.rates import rate_of
from cab.records.sources import Sources
from cab.records.store import Record
from cab.registry import Registry
from cab.running.cells import Cell, Request, plan
from cab.running.checkpoints import Checkpoint
from cab.running.recipes import RATE
from cab.taxonomy import TaskCard, VariantCard


def cell_of(
    record: Record | Checkpoint,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    include: tuple[Path, ...] = (),
    *,
    unchecked: bool = False,
    sources: Sources | None = None,
) -> Cell:
    """The cell that a record or a checkpoint is of, planned anew from what is installed.

    `sources` remembers hashes between the records of a file.

    Raises:
        CabError: no cell of today has the record's key: its source, task version, recipe or
            settings are not those published.
    """
    options = {**record.variant.options, **record.settings.changed}
    if record.settings.recipe.get("rates"):  # one of them was chosen, which is no change
        options.setdefault(RATE, rate_of(record))
    request = Request(
        variants=[record.variant.name],
        profile=get_profile(record.task.profile),
        tasks=[record.task.name],
        options={key: str(value) for key, value in options.items()},
        include=include,
        unchecked=unchecked,
    )
    # One cell is planned and its seed set, since a record may name any seed at all.
    cell = dataclasses.replace(plan(request, variants, tasks, sources).cells[0], seed=record.seed)
    # The key alone could have been copied from the right cell into a record that says otherwise.
    task = record.task
    said = (record.variant.source_hash, task.version, task.source_hash, record.key)
    today = (cell.source_hash, cell.task.version, cell.task_source, cell.key)
    if said != today or not _same(record, cell):
        reason = "its settings or recipe are"
        if cell.source_hash != record.variant.source_hash:
            reason = "the source is"
        elif cell.task.version != task.version:
            reason = "the task's version is"
        elif cell.task_source != task.source_hash:
            reason = "the task's source is"
        raise CabError(
            f"{record.key} ({cell.title}) does not match the installed version ({cell.key}): "
            f"{reason} not what was recorded. Rerun the cell."
        )
    return cell


def _same(record: Record | Checkpoint, cell: Cell) -> bool:
    """Whether a record gives the settings and the recipe of a cell, as JSON holds them."""
    said = (record.variant.config, record.settings.recipe)
    known = (dict(cell.config), cell.recipe.as_dict())
    return json.dumps(said, sort_keys=True) == json.dumps(known, sort_keys=True)
