"""`cab probe`: measure what the attention of a trained cell does."""

from pathlib import Path
from typing import Annotated

import typer

from cab.commands.cells.training import Checkpoint, Wanted, say_where, trained_cells
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
from cab.commands.measurements.probe_state import (
    StateTypes,
    WriteState,
    probe_state,
    read_types,
    refuse_to_keep,
    refuse_without_state,
)
from cab.data import data_directory
from cab.errors import CabError
from cab.profiles import DEFAULT_PROFILE
from cab.records.files import try_writing
from cab.registry import discover_tasks, discover_variants, name_of_role

EXAMPLES = 16
"""Test examples whose maps are probed."""


def probe(
    variant: Annotated[str, typer.Option(help="The variant.")],
    task: Annotated[str, typer.Option(help="The task.")],
    profile: Annotated[
        str | None, typer.Option(help=f"Profile of the task. Default: {DEFAULT_PROFILE}.")
    ] = None,
    seed: TrainingSeed = None,
    set_: Settings = None,
    checkpoint: Checkpoint = None,
    examples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Number of test examples. Default: {EXAMPLES}; with --state-dtype, all.",
        ),
    ] = None,
    state_dtype: StateTypes = None,
    write: WriteState = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for SVG drawings.")] = None,
    include: Include = None,
    unchecked: Unchecked = False,
    device: Device = "auto",
    store: Store = DEFAULT_STORE,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Measure the attention of a trained cell: entropy, sinks, rank, rollout, head importance.

    The cell is trained first (on --device) or loaded from a checkpoint. Probes run on the CPU;
    averages are stored in the record. With --state-dtype the precision that decoding needs is
    measured instead.
    """
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    rounding = read_types(state_dtype)
    if write and not rounding:
        raise CabError("--write keeps what --state-dtype measures. Add --state-dtype TYPES.")
    if plots is not None:
        try_writing(plots, "Drawings", folder=True)

    from cab.analysis.probing import evaluations, plot
    from cab.analysis.probing import probe as look
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
    if rounding:
        refuse_without_state(variants.card(variant), tasks.card(task))
    if write:
        refuse_to_keep(
            tasks.card(task), profile or DEFAULT_PROFILE, reference, set_ or (), unchecked
        )
    (trained,) = trained_cells(wanted, [variant], variants, tasks)
    if rounding:
        return probe_state(trained, rounding, reference, examples, plots, store, json, write)
    found = look(trained, examples or EXAMPLES)
    record = RecordStore(store).add_evaluations(trained.cell.key, evaluations(trained, found))
    drawn = plot(found, plots) if plots is not None else []
    if json:
        return output.print_json(
            {
                "key": trained.cell.key,
                "cell": trained.cell.title,
                "maps": {one.layer: one.kind for one in found.mixings},
                "heads": found.heads,
                "importance": found.importance,
                "influence": found.influence,
                "flow": found.flow,
                "similarity": found.collapse,
                "left_out": found.left_out,
                "plots": drawn,
            }
        )
    layers = [one.layer for one in found.mixings]
    columns = {**found.heads, **({"importance": found.importance} if found.importance else {})}
    output.print_table(
        f"{trained.cell.title}, on {found.examples} test examples",
        ("attention, head", *columns),
        [
            (
                f"{layer}, {head}",
                *(_number(values.get(layer, []), head) for values in columns.values()),
            )
            for layer, one in zip(layers, found.mixings, strict=True)
            for head in range(max(one.map.shape[1], len(found.importance.get(layer, []))))
        ],
    )
    if found.collapse:
        said = ", ".join(f"{length}: {value:.3f}" for length, value in found.collapse.items())
        output.out.print(f"similarity of answers by length: {said}", markup=False, soft_wrap=True)
    for sentence in found.left_out:
        output.warn(sentence)
    for path in drawn:
        output.say(f"Wrote {path}.")
    say_where(record, store, trained.cell.title)


def _number(values: list[float], head: int) -> str:
    return f"{values[head]:.3f}" if head < len(values) else "-"
