"""What `cab run` and `cab sweep` print about their results and the place of the records."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cab.commands.common import output
from cab.commands.common.result_table import print_lines, table
from cab.errors import counted
from cab.records.copies import without_copies
from cab.records.store import Record, RecordStore
from cab.registry import Registry
from cab.running.cells import Cell
from cab.running.execution import Finished
from cab.running.search import Search
from cab.taxonomy import TaskCard, VariantCard


class Tally:
    """Counts how cells ended; keeps what `--json` prints of them only if it is wanted.

    A sweep may have more records than fit into the memory.
    """

    def __init__(self, records: RecordStore, keep: bool) -> None:
        self._records, self._keep = records, keep
        self.states: Counter[str] = Counter()
        self.failed = False
        self.seen: set[str] = set()
        self.rows: dict[str, dict[str, Any]] = {}

    def add(self, one: Finished) -> None:
        """Count a cell that has ended or was skipped."""
        self.states[one.state] += 1
        self.seen.add(one.cell.key)
        self.failed |= one.record is None or one.record.status == "error"
        if self._keep:
            self.rows[one.cell.key] = _row(one, self._records)


def print_results(
    cells: Sequence[Cell],
    records: RecordStore,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    profile: str,
) -> None:
    """Print the results of these variants on their tasks, with softmax and none for comparison."""
    asked = {cell.task.name for cell in cells}
    placed = (
        (records.path(record.key), record.model_copy(update={"curve": ()}))
        for record in records.scan()
        if isinstance(record, Record)
        and record.task.profile == profile
        and record.task.name in asked
    )
    stored, problems = without_copies(placed)
    for problem in problems:
        output.warn(problem)
    wanted = {cell.variant.name for cell in cells}
    print_lines(table(stored, variants, tasks, profile, wanted), profile)


def following(cells: Sequence[Cell], search: Search) -> str:
    """Say how many more cells follow from the choice of learning rates; nothing if none do."""
    number, seeds = search.open(cells), search.seeds - 1
    if not (number and seeds):
        return ""
    return (
        f"Then {counted(seeds, 'more seed')} at the chosen learning rate of each of "
        f"{counted(number, 'entry-task pair')}. If the best rate is the lowest or the highest, "
        f"rates beyond it are tried first."
    )


def _row(one: Finished, records: RecordStore) -> dict[str, Any]:
    cell, record = one.cell, one.record
    metrics = record.model_dump(mode="json")["metrics"] if record else {"test": {}, "lengths": []}
    return {
        "key": cell.key,
        "variant": cell.variant.name,
        "task": cell.task.name,
        "pattern": cell.task.pattern,
        "profile": cell.profile.name,
        "rate": cell.recipe.train.learning_rate,
        "seed": cell.seed,
        "state": one.state,
        "status": record.status if record else None,
        "message": record.message if record else one.problem,
        "test": metrics["test"],
        "lengths": metrics["lengths"],
        "levels": metrics.get("levels", []),
        "record": str(records.path(cell.key)),
    }


def document(
    tally: Tally,
    cells: Sequence[Cell],
    left_out: list[str],
    refused: list[str],
    records: RecordStore,
) -> dict[str, Any]:
    """What `cab run --json` prints: the cells in the order of the plan."""
    return {
        "store": str(records.root),
        "cells": [tally.rows[cell.key] for cell in cells],
        "left_out": left_out,
        "refused": refused,
    }


def close(tally: Tally, records: RecordStore, tracked: bool) -> None:
    """Print how many cells ran, and where their records are."""
    ran, already, blocked = (tally.states[s] for s in ("ran", "already done", "blocked"))
    if already and not ran and not blocked:
        done = "the cell has" if already == 1 else f"all {already} cells have"
        output.say(f"Nothing to do: {done} finished. Use --force to rerun.")
    else:
        more = f", {blocked} could not be run" if blocked else ""
        output.say(f"{counted(ran, 'cell')} ran, {already} skipped as finished{more}.")
    output.say(f"Records: {records.folder}")
    if tracked and (records.root / "mlflow.db").exists():
        database = records.root / "mlflow.db"
        output.say(
            f"Browse: {sys.executable} -m mlflow ui --backend-store-uri sqlite:///{database}"
        )
