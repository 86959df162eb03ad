"""What `cab run` says: the plan before, the results and where they are after."""

import sys
from collections.abc import Sequence
from typing import Any

from cab.cells import Plan
from cab.commands import output
from cab.commands.show import print_lines, table
from cab.execution import Finished
from cab.records import RecordStore
from cab.registry import Registry
from cab.taxonomy import TaskCard, VariantCard


def print_results(
    finished: Sequence[Finished],
    records: RecordStore,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    profile: str,
) -> None:
    """Print the tasks that were asked for: these variants beside the reference and no mixing."""
    asked = {one.cell.task.name for one in finished}
    stored = [
        record
        for record in records.load()[0]
        if record.task.profile == profile and record.task.name in asked
    ]
    wanted = {one.cell.variant.name for one in finished}
    print_lines(table(stored, variants, tasks, profile, wanted), profile)


def show_plan(planned: Plan, records: RecordStore, json: bool) -> None:
    """Print what would run."""
    cells = [
        {
            "variant": cell.variant.name,
            "task": cell.task.name,
            "pattern": cell.task.pattern,
            "seed": cell.seed,
            "key": cell.key,
            "done": records.path(cell.key).exists(),
        }
        for cell in planned.cells
    ]
    if json:
        return output.print_json({"cells": cells, "left_out": planned.left_out})
    for sentence in planned.left_out:
        output.warn(sentence)
    rows = [
        [*map(str, list(one.values())[:5]), "done" if one["done"] else "to run"] for one in cells
    ]
    output.print_table("Plan", ("variant", "task", "pattern", "seed", "key", "state"), rows)


def document(
    finished: Sequence[Finished], left_out: list[str], refused: list[str], records: RecordStore
) -> dict[str, Any]:
    """What `cab run --json` prints."""
    cells = []
    for one in finished:
        cell, record = one.cell, one.record
        cells.append(
            {
                "key": cell.key,
                "variant": cell.variant.name,
                "task": cell.task.name,
                "pattern": cell.task.pattern,
                "profile": cell.profile.name,
                "seed": cell.seed,
                "state": one.state,
                "status": record.status if record else None,
                "message": record.message if record else one.problem,
                "test": record.model_dump(mode="json")["metrics"]["test"] if record else {},
                "lengths": record.model_dump(mode="json")["metrics"]["lengths"] if record else [],
                "record": str(records.path(cell.key)),
            }
        )
    return {
        "store": str(records.root),
        "cells": cells,
        "left_out": left_out,
        "refused": refused,
    }


def close(finished: Sequence[Finished], records: RecordStore, tracked: bool) -> None:
    """Say what was done and where it is."""
    ran = sum(one.state == "ran" for one in finished)
    already = sum(one.state == "already done" for one in finished)
    blocked = len(finished) - ran - already
    if finished and already == len(finished):
        output.say(f"Nothing to do: all {already} cells are done. --force runs them again.")
    else:
        more = f", {blocked} could not be run" if blocked else ""
        output.say(f"{ran} cells ran, {already} were done already{more}.")
    output.say(f"Records: {records.folder}")
    if tracked and (records.root / "mlflow.db").exists():
        database = records.root / "mlflow.db"
        output.say(
            f"Browse: {sys.executable} -m mlflow ui --backend-store-uri sqlite:///{database}"
        )
