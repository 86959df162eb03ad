"""`cab extrapolate`: test a variant and the reference at lengths other than the training one."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.cells.training import DEFAULT_TASK, Checkpoint, Wanted, say_where, trained_cells
from cab.commands.common import output
from cab.commands.common.options import (
    DEFAULT_STORE,
    DataDir,
    Device,
    Include,
    Json,
    Settings,
    Store,
    TrainingSeed,
    Unchecked,
    choose_device,
)
from cab.data import data_directory
from cab.errors import CabError
from cab.profiles import DEFAULT_PROFILE
from cab.records.files import try_writing
from cab.registry import discover_tasks, discover_variants, name_of_role

if TYPE_CHECKING:
    from cab.records.store import AtLength

SHOWN = 4
"""How many places along the sequence the terminal shows."""


def extrapolate(
    variant: Annotated[str, typer.Option(help="The variant.")],
    task: Annotated[str, typer.Option(help="A task with several lengths.")] = DEFAULT_TASK,
    profile: Annotated[
        str | None, typer.Option(help=f"Profile of the task. Default: {DEFAULT_PROFILE}.")
    ] = None,
    seed: TrainingSeed = None,
    set_: Settings = None,
    checkpoint: Checkpoint = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file for the curves.")] = None,
    include: Include = None,
    unchecked: Unchecked = False,
    device: Device = "auto",
    store: Store = DEFAULT_STORE,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Train at a length, test at 1/4 to 8 times that length, and show the loss by position.

    Softmax is trained with the same recipe for comparison. The curves are stored in the records.
    """
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    if plot is not None:
        try_writing(plot, "The figure", parents=True)

    from cab.analysis.extrapolation import extrapolate as measure
    from cab.analysis.extrapolation import join
    from cab.analysis.extrapolation import plot as draw
    from cab.records.store import RecordStore

    wanted = Wanted(
        task,
        profile,
        seed,
        set_ or (),
        checkpoint,
        files,
        unchecked,
        store,
        data_directory(data_dir),
        choose_device(device),
    )
    reference = name_of_role(variants, "reference")
    names = list(dict.fromkeys((variant, reference)))
    cells = trained_cells(wanted, names, variants, tasks)
    if any(one.cell.recipe != cells[0].cell.recipe for one in cells):
        raise CabError(
            f"{variant} and {reference} were trained with different recipes, so their curves "
            f"cannot be compared. Train both with the same --set, or omit --checkpoint."
        )
    curves = {}
    for trained in cells:
        name = trained.cell.variant.name
        output.say(f"Testing {trained.cell.title} at other lengths")
        curves[name] = measure(trained, wanted.device)
        record = join(RecordStore(store), trained.cell.key, curves[name])
        say_where(record, store, trained.cell.title)
    metric = cells[0].cell.task.metric
    if plot is not None:
        draw(curves, metric, plot)
        output.say(f"Wrote {plot}.")
    if json:
        output.print_json(
            {
                "task": task,
                "metric": metric,
                "curves": {
                    name: [point.model_dump(mode="json") for point in curve]
                    for name, curve in curves.items()
                },
            }
        )
        return
    _print(curves, task, metric)


def _print(curves: "dict[str, tuple[AtLength, ...]]", task: str, metric: str) -> None:
    first = next(iter(curves.values()))
    output.print_table(
        f"{task}: {metric} by length",
        ("x", "length", *curves),
        [
            (f"{point.factor:g}", str(point.length), *(_said(c[place]) for c in curves.values()))
            for place, point in enumerate(first)
        ],
    )
    for name, curve in curves.items():
        last = next((point for point in reversed(curve) if point.positions), None)
        if last is not None:
            step = math.ceil(len(last.positions) / SHOWN)
            places = ", ".join(
                f"{part.first}-{part.last}: {math.exp(min(part.nats, 700.0)):.3g}"
                for part in last.positions[step - 1 :: step]
            )
            output.out.print(
                f"{name}, perplexity by position at {last.factor:g}x: {places}",
                markup=False,
                soft_wrap=True,
            )


def _said(point: "AtLength") -> str:
    if point.estimate is None:
        return point.status
    return f"{point.estimate.value:.3f} ± {1.96 * point.estimate.standard_error:.3f}"
