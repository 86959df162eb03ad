"""`cab run`: train and test variants on tasks."""

from typing import Annotated

import typer

from cab.commands.cells.work import (
    Asked,
    hear,
    indexed,
    plan_work,
    prepare,
    report,
    say_what_follows,
)
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


def run(
    variant: Annotated[list[str], typer.Option(help="A variant to run. Repeatable.")],
    task: Tasks = None,
    pattern: Patterns = None,
    domain: Domains = None,
    suite: Suite = None,
    profile: SuiteProfile = None,
    seeds: Seeds = None,
    set_: Settings = None,
    hybrid: Hybrid = None,
    include: Include = None,
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
    """Train and test variants on tasks, one process per cell, and store a record of each.

    Each variant is first checked against the laws of `cab check`; variants that break a law are
    not trained.

    Finished cells are skipped, so rerun the same command to resume. Exit 1 if a cell ended in
    error or a variant breaks a law, 2 for invalid input, 130 after Ctrl-C.
    """
    asked = Asked(
        variants=variant,
        store=store,
        task=task or (),
        pattern=pattern or (),
        domain=domain or (),
        suite=suite,
        profile=profile_of(profile, suite),
        seeds=seeds,
        settings=set_ or (),
        hybrid=hybrid,
        include=tuple(include or ()),
        data_dir=data_dir,
        time_limit=time_limit,
        memory_limit=memory_limit,
        force=force,
        unchecked=unchecked,
        diagnostic=diagnostic,
        checkpoints=checkpoints,
        processes=processes,
    )
    work = plan_work(asked, start=not dry_run)
    if dry_run:
        from cab.commands.cells.dry_run import show_plan

        return show_plan(work, json)
    from cab.commands.cells.progress import RunProgress
    from cab.running.execution import Runner

    here = choose_device(device)
    cells, to_run, directory = prepare(work, here)
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
            tally = hear(work, runner.each(cells), json)
    if not report(work, cells, tally, json, tracking):
        raise typer.Exit(1)
