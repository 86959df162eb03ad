"""`cab sweep`: many cells at once, on this machine or on a cluster."""

import os
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.cells.sharding import Shard
from cab.commands.cells.work import (
    Asked,
    hear,
    indexed,
    plan_work,
    prepare,
    report,
    say_what_follows,
)
from cab.commands.common import output
from cab.commands.common.names import EVERY, are_many, given_names
from cab.commands.common.options import (
    DEFAULT_STORE,
    Checkpoints,
    DataDir,
    Device,
    Diagnostic,
    Domains,
    DryRun,
    Force,
    Hybrid,
    Include,
    Json,
    MemoryLimit,
    Patterns,
    Processes,
    Seeds,
    Settings,
    Store,
    Suite,
    SuiteProfile,
    Tasks,
    TimeLimit,
    TrackingKind,
    TrackingOption,
    TrackingUri,
    Unchecked,
    choose_device,
    profile_of,
)
from cab.errors import CabError, counted
from cab.registry import Registry, discover_tasks, discover_variants
from cab.settings import split_assignments
from cab.taxonomy import VariantCard

if TYPE_CHECKING:
    from cab.running.executors import Executor

JOBS = 16


class Where(StrEnum):
    """What runs the cells."""

    LOCAL = "local"
    RAY = "ray"
    SLURM = "slurm"


def sweep(
    variant: Annotated[
        list[str],
        typer.Option(
            help="Variants to run: a name, several as a,b, all, or @FILE with one name per line. "
            "Repeatable."
        ),
    ],
    task: Tasks = None,
    pattern: Patterns = None,
    domain: Domains = None,
    suite: Suite = None,
    profile: SuiteProfile = None,
    seeds: Seeds = None,
    set_: Settings = None,
    hybrid: Hybrid = None,
    include: Include = None,
    executor: Annotated[Where, typer.Option(help="What runs the cells.")] = Where.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of parallel cells. Default: as many as cores or GPUs allow."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads per cell. Default on CPU: one per process."),
    ] = None,
    cells_per_gpu: Annotated[
        int, typer.Option(min=1, help="Number of cells that share a GPU.")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a running Ray cluster. Default: start one on this machine."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help=f"Number of Slurm jobs that share the cells. Default: {JOBS}."),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="An option for submitit, such as slurm_partition=gpu, timeout_min=600 or "
            "cluster=local. Repeatable."
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Run only part I of N equal parts of the plan.")
    ] = None,
    device: Device = "auto",
    store: Store = DEFAULT_STORE,
    data_dir: DataDir = None,
    tracking: TrackingOption = TrackingKind.MLFLOW,
    tracking_uri: TrackingUri = None,
    time_limit: TimeLimit = None,
    memory_limit: MemoryLimit = None,
    force: Force = False,
    unchecked: Unchecked = False,
    diagnostic: Diagnostic = False,
    checkpoints: Checkpoints = None,
    processes: Processes = 1,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run the cells of `cab run` in parallel, on this machine or on a cluster.

    Finished cells are skipped, and several sweeps can share a store. Variants whose file cannot be
    read are reported and skipped. Exit 1 if a cell ended in error, a variant was skipped or a
    variant breaks a law, 2 for invalid input, 130 after Ctrl-C.
    """
    files = tuple(include or ())
    variants = discover_variants(files, tolerant=True)
    tasks = discover_tasks(files, tolerant=True)
    known = {one.path for one in variants.entries.values()}
    known |= {one.path for one in tasks.entries.values()}
    variants.problems[:] = dict.fromkeys([*variants.problems, *tasks.problems])
    names, broken = _names(variant, variants)
    asked = Asked(
        variants=names,
        store=store,
        task=task or (),
        pattern=pattern or (),
        domain=domain or (),
        suite=suite,
        profile=profile_of(profile, suite),
        seeds=seeds,
        settings=set_ or (),
        hybrid=hybrid,
        include=tuple(path for path in files if path in known),
        data_dir=data_dir,
        time_limit=time_limit,
        memory_limit=memory_limit,
        force=force,
        unchecked=unchecked,
        diagnostic=diagnostic,
        checkpoints=checkpoints,
        processes=processes,
        every=are_many(variant),
    )
    part = Shard.read(shard) if shard else None
    if processes > 1:
        threads = threads or processes
    chosen = _executor(
        executor, device, workers, threads, cells_per_gpu, processes, address, jobs, slurm
    )
    pin_threads(threads or 1)  # before the processes that cells are forked from are started
    work = plan_work(asked, variants, start=not dry_run)
    if part:
        work.planned = replace(work.planned, cells=part.of(work.planned.cells))
    if dry_run:
        from cab.commands.cells.dry_run import show_plan

        return show_plan(work, json)
    from cab.commands.cells.progress import RunProgress
    from cab.running.environment import usable_cores
    from cab.running.execution import Runner

    here = choose_device("auto" if executor != Where.LOCAL and device == "cuda" else device)
    cells, to_run, directory = prepare(work, here, usable_cores())
    if to_run:
        output.say(f"Running {len(to_run)} of {counted(len(cells), 'cell')}: {chosen.said}.")
        say_what_follows(work, cells)
    with RunProgress(cells) as progress:
        runner = Runner(
            work.records,
            directory,
            here,
            progress,
            force,
            context=work.context,
            search=work.search,
        )
        with indexed(runner, tracking, tracking_uri, bool(to_run)):
            tally = hear(work, chosen.run(cells, runner), json)
    well = report(work, cells, tally, json, tracking)
    if broken or not well:
        raise typer.Exit(1)


def _executor(
    where: Where,
    device: Device,
    workers: int | None,
    threads: int | None,
    cells_per_gpu: int,
    processes: int,
    address: str | None,
    jobs: int | None,
    slurm: Sequence[str] | None,
) -> "Executor":
    """Return what runs the cells. On a cluster each node resolves `--device auto` itself.

    Raises:
        CabError: options that do not go together.
    """
    if processes > 1 and cells_per_gpu > 1:
        raise CabError("--processes uses whole GPUs, so --cells-per-gpu must be 1.")
    for option, given, its in (
        ("--address", address, Where.RAY),
        ("--jobs", jobs, Where.SLURM),
        ("--slurm", slurm, Where.SLURM),
    ):
        if given and where != its:
            raise CabError(f"{option} needs --executor {its}; this run uses {where}.")
    if where == Where.RAY:
        from cab.running.executors.ray import RayExecutor

        return RayExecutor(device, address, workers, threads or 1, cells_per_gpu, processes)
    if where == Where.SLURM:
        from cab.running.executors.slurm import SlurmExecutor

        options = split_assignments(list(slurm or ()), "--slurm")
        cluster = options.pop("cluster", "slurm")
        count = jobs or JOBS
        return SlurmExecutor(
            count, device, workers, threads or 1, cells_per_gpu, processes, options, cluster
        )
    from cab.running.executors.local import LocalExecutor

    return LocalExecutor.here(choose_device(device), workers, threads, cells_per_gpu, processes)


def _names(asked: Sequence[str], variants: Registry[VariantCard]) -> tuple[list[str], list[str]]:
    """Return the requested variants that load, and a sentence for each file that does not.

    Raises:
        UnknownName: a name is not registered; one beside `all` is no exception.
    """
    given = given_names(asked)
    named = [name for name in dict.fromkeys(given) if name != EVERY]
    wanted = variants.names() if EVERY in given else named
    broken, names = list(variants.problems), []
    variants.problems.clear()
    for sentence in broken:
        output.fail(f"{sentence} It is skipped.")
    for name in named:
        variants.entry(name)
    for name in wanted:
        try:
            variants.load(name)
        except CabError as error:
            broken.append(str(error))
            output.fail(f"{error} {name} is skipped.")
        else:
            names.append(name)
    if not names:
        raise CabError("None of the variants can be loaded; correct the errors above.")
    return names, broken


def pin_threads(threads: int) -> None:
    """Limit the threads of numeric libraries in all processes started from now on.

    The libraries read these variables once, when they are loaded.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
