"""What `--dry-run` prints: the cells, what data is missing, sizes, and about how long it takes."""

from collections.abc import Sequence
from typing import Any

from cab.commands.cells.run_report import following
from cab.commands.cells.work import Work
from cab.commands.common import output
from cab.data import data_directory, get_data_set, inspect
from cab.errors import CabError, counted
from cab.records.folders import results_folders
from cab.records.results import read_file
from cab.records.store import Record
from cab.registry import name_of_role
from cab.running.cells import Cell
from cab.running.estimates import OPERATIONS, STEP, Size, sizes


def show_plan(work: Work, json: bool) -> None:
    """Print what would run."""
    cells = [
        {
            "variant": cell.variant.name,
            "task": cell.task.name,
            "pattern": cell.task.pattern,
            "rate": cell.recipe.train.learning_rate,
            "seed": cell.seed,
            "key": cell.key,
            "done": work.records.path(cell.key).exists(),
        }
        for cell in work.planned.cells
    ]
    directory = data_directory(work.asked.data_dir)
    reference = name_of_role(work.variants, "reference")
    found = sizes(
        work.planned.cells,
        work.variants.load(reference),
        work.tasks,
        directory,
        _published(work.asked.profile, reference),
    )
    names = dict.fromkeys(name for size in found for name in size.missing)
    missing = [inspect(get_data_set(name), directory)[1] for name in names]
    lines = [_line(work, size) for size in found]
    hours = sum(line["hours"] or 0.0 for line in lines)
    if json:
        more = work.search.open(work.planned.cells) * (work.search.seeds - 1)
        return output.print_json(
            {
                "cells": cells,
                "following": more,
                "left_out": work.planned.left_out,
                "missing_data": missing,
                "tasks": lines,
                "hours": hours,
            }
        )
    for sentence in (*work.planned.left_out, *missing):
        output.warn(sentence)
    rows = [
        [*map(str, list(one.values())[:6]), "done" if one["done"] else "to run"] for one in cells
    ]
    columns = ("variant", "task", "pattern", "rate", "seed", "key", "state")
    output.print_table("Plan", columns, rows)
    output.print_table(
        f"Sizes of the networks with {reference}, and estimated times",
        ("task", "parameters", "tokens", "operations", "cells to run", "hours", "from"),
        [_cells(line) for line in lines],
    )
    if sentence := following(work.planned.cells, work.search):
        output.say(sentence)
    output.say(_said(lines, hours, reference))


def _published(profile: str, variant: str) -> list[Record]:
    """The published records of a variant with its own settings."""
    found: list[Record] = []
    for file in results_folders().files(profile, f"{variant}.jsonl")[0]:
        try:
            found += read_file(file)
        except CabError as error:  # a plan needs no results
            output.warn(str(error))
    return [one for one in found if not one.variant.options]


def _line(work: Work, size: Size) -> dict[str, Any]:
    """A task's size and time; the cells are those to run, with the seeds that follow."""
    own: Sequence[Cell] = [cell for cell in work.planned.cells if cell.task.name == size.task]
    number = sum(not work.records.path(cell.key).exists() for cell in own)
    number += work.search.open(own) * (work.search.seeds - 1)
    hours = None if size.seconds is None else number * size.seconds / 3600
    return {**output.plain(size), "cells": number, "hours": hours}


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lacks = f"{', '.join(line['missing'])} is missing" if line["missing"] else "unknown"
    basis = {"published": "published times", "counted": "operations"}.get(line["basis"], lacks)
    return (
        line["task"],
        number(line["parameters"], ","),
        number(line["tokens"], ".2g"),
        number(line["operations"], ".2g"),
        str(line["cells"]),
        number(line["hours"], ".2f"),
        basis,
    )


def _said(lines: list[dict[str, Any]], hours: float, reference: str) -> str:
    """Say how long it takes in all, and what that is based on."""
    cells = sum(line["cells"] for line in lines)
    bases = {line["basis"] for line in lines}
    based = []
    if "published" in bases:
        based.append(f"the mean times of published cells of {reference} with the same recipe")
    if "counted" in bases:
        based.append(
            f"the counted operations of training with {reference}, on a device that does "
            f"{OPERATIONS:.0e} a second and needs at least {STEP:g} s for a step, as one GPU does"
        )
    unknown = [line["task"] for line in lines if not line["basis"]]
    left = f" The time of {', '.join(unknown)} is not known." if unknown else ""
    if not based:
        return f"{counted(cells, 'cell')} to run.{left}"
    return (
        f"{counted(cells, 'cell')} to run, about {hours:.2g} hours one after the other, estimated "
        f"from {' and '.join(based)}. Other mechanisms take more or less.{left}"
    )
