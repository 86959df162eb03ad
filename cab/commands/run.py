"""`cab run`: the main job."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands import output
from cab.commands.options import (
    DEFAULT_STORE,
    DataDir,
    Device,
    Include,
    Json,
    Patterns,
    Store,
    choose_device,
    read_patterns,
)
from cab.data import data_directory, get_data_set, inspect
from cab.errors import CabError, Interrupted
from cab.profiles import get_profile
from cab.registry import discover_tasks, discover_variants
from cab.settings import split_assignments
from cab.taxonomy import Domain

if TYPE_CHECKING:
    from cab.cells import Cell


class TrackingKind(StrEnum):
    """Whether records are also indexed."""

    MLFLOW = "mlflow"
    NONE = "none"


def run(
    variant: Annotated[list[str], typer.Option(help="A variant to run. Repeatable.")],
    task: Annotated[list[str] | None, typer.Option(help="Only this task. Repeatable.")] = None,
    pattern: Patterns = None,
    domain: Annotated[list[Domain] | None, typer.Option(help="Only this domain.")] = None,
    profile: Annotated[str, typer.Option(help="smoke, quick, standard or full.")] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N - 1.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A variant's setting, train.SETTING or model.SETTING, as KEY=VALUE."
        ),
    ] = None,
    hybrid: Annotated[
        str | None,
        typer.Option(help="K:1 puts softmax into every (K + 1)-th layer of causal decoders."),
    ] = None,
    include: Include = None,
    device: Device = "auto",
    store: Store = DEFAULT_STORE,
    data_dir: DataDir = None,
    tracking: Annotated[
        TrackingKind, typer.Option(help="Index records in MLflow, or leave that to `cab index`.")
    ] = TrackingKind.MLFLOW,
    tracking_uri: Annotated[
        str | None,
        typer.Option(envvar="MLFLOW_TRACKING_URI", help="Default: mlflow.db in the store."),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds per cell, instead of the profile's.")
    ] = None,
    memory_limit: Annotated[
        float | None, typer.Option(min=0.1, help="GiB per cell, instead of the profile's.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run cells that are done again.")] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Run without the proof (see `cab check`).")
    ] = False,
    diagnostic: Annotated[
        bool, typer.Option("--diagnostic", help="Without --task: those that are not scored, too.")
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Keep the trained weights in this folder.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch; on CUDA a GPU each.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, run nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Train and test variants on tasks, one process per cell, and store a record of each.

    A variant is first held against the laws of `cab check` in the patterns that are to run; one
    that breaks a law is not run (exit 1).

    What is done already is not run again, so an interrupted run goes on where it was. Exit 1 if
    a cell ended in error, 2 for a usage error, 130 after Ctrl-C.
    """
    size = get_profile(profile)
    size = replace(
        size,
        time_limit=time_limit or size.time_limit,
        memory_limit=memory_limit or size.memory_limit,
    )
    files = tuple(path.resolve() for path in include or ())
    variants, tasks = discover_variants(files), discover_tasks()
    for name in variant:
        variants.entry(name)
    for problem in (*variants.problems, *tasks.problems):
        output.warn(problem)

    from cab.fork_server import start_fork_server
    from cab.records import RecordStore

    records = RecordStore(store)
    # With a fresh store there is surely something to run: its imports start beside planning's.
    fresh = not dry_run and not records.folder.exists()
    context = start_fork_server(map(tasks.card, task or tasks.names())) if fresh else None

    from cab.cells import Request, plan
    from cab.commands.run_report import close, document, print_results, show_plan

    request = Request(
        variants=variant,
        profile=size,
        seeds=seeds,
        tasks=task or (),
        patterns=read_patterns(pattern or []),
        domains=domain or (),
        options=split_assignments(set_ or []) | _hybrid(hybrid),
        include=files,
        unchecked=unchecked,
        diagnostic=diagnostic,
        checkpoints=None if checkpoints is None else checkpoints.resolve(),
        processes=processes,
    )
    planned = plan(request, variants, tasks)
    if dry_run:
        return show_plan(planned, records, json)
    from cab.commands.progress import RunProgress
    from cab.commands.run_gate import pass_gate
    from cab.execution import Runner, is_done
    from cab.tracking import LiveIndex, Tracking

    chosen_device = choose_device(device)
    directory = data_directory(data_dir)
    to_run = {cell.key for cell in planned.cells if force or not is_done(records, cell)}
    _look_for_weights(cell for cell in planned.cells if cell.key not in to_run)
    if to_run and context is None:
        context = start_fork_server(cell.task for cell in planned.cells if cell.key in to_run)
    cells, without_data = _with_data(planned.cells, to_run, directory, bool(task))
    left_out = [*planned.left_out, *without_data]
    for sentence in left_out:
        output.warn(sentence)
    cells, refused = pass_gate(cells, to_run, chosen_device, context)

    live = LiveIndex(Tracking.of_store(store, tracking_uri))
    tracked = tracking == TrackingKind.MLFLOW
    try:
        with RunProgress(cells) as progress:
            runner = Runner(records, directory, chosen_device, progress, force, context=context)
            if tracked:
                runner.on_record = live.add
                if to_run:
                    live.start()
            finished = runner.run(cells)
        live.close()
    except Interrupted:
        kept = "Records of finished cells are kept; the same command goes on."
        raise Interrupted(kept) from None
    if live.problem:
        output.warn(f"MLflow took no record. {live.problem} `cab index` catches up.")
    if json:
        output.print_json(document(finished, left_out, refused, records))
    else:
        print_results(finished, records, variants, tasks, profile)
        close(finished, records, tracked)
    failed = any(one.record is None or one.record.status == "error" for one in finished)
    if failed or refused:
        raise typer.Exit(1)


def _look_for_weights(done: Iterable["Cell"]) -> None:
    """Say which cells are done and have left no weights where they are wanted."""
    without = [
        cell.title
        for cell in done
        if cell.checkpoints is not None and not (cell.checkpoints / f"{cell.key}.json").exists()
    ]
    if without:
        output.warn(
            f"Done before, so without weights in this folder: {'; '.join(without)}. --force "
            "trains them again."
        )


def _hybrid(ratio: str | None) -> dict[str, str]:
    """Read `6:1` as the setting that it stands for."""
    if ratio is None:
        return {}
    layers, colon, one = ratio.partition(":")
    if not (layers.isdecimal() and int(layers) > 0 and colon and one == "1"):
        raise CabError(f"--hybrid takes K:1, such as 6:1, not {ratio!r}.")
    return {"model.hybrid": layers}


def _with_data(
    cells: Sequence["Cell"], to_run: set[str], directory: Path, named: bool
) -> tuple[list["Cell"], list[str]]:
    """Drop the cells whose data is not here; if the user named tasks, that is an error instead.

    Data is looked at only for cells that are to run.
    """
    needed = {name for cell in cells if cell.key in to_run for name in cell.task.data}
    missing = {}
    for name in sorted(needed):
        state, sentence = inspect(get_data_set(name), directory)
        if state == "wrong" or (state == "missing" and named):
            raise CabError(sentence)
        if state == "missing":
            missing[name] = sentence
    left_out = []
    for name, sentence in missing.items():
        tasks = sorted({cell.task.name for cell in cells if name in cell.task.data})
        left_out.append(f"{', '.join(tasks)} is left out. {sentence}")
    kept = [
        cell
        for cell in cells
        if cell.key not in to_run or not missing.keys() & set(cell.task.data)
    ]
    return kept, left_out
