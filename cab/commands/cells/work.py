"""The steps that `cab run` and `cab sweep` share, before and after their cells run."""

from collections.abc import Generator, Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

from cab.commands.common import output
from cab.commands.common.options import TrackingKind, read_patterns
from cab.data import data_directory, get_data_set, inspect
from cab.errors import CabError, Interrupted
from cab.profiles import get_profile
from cab.records.files import try_writing
from cab.registry import Registry, discover_tasks, discover_variants
from cab.settings import split_assignments
from cab.taxonomy import Domain, TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.commands.cells.run_report import Tally
    from cab.records.store import RecordStore
    from cab.running.cells import Cell, Plan
    from cab.running.execution import Finished, Runner
    from cab.running.jobs import Device
    from cab.running.search import Search


@dataclass(frozen=True)
class Asked:
    """The options of both commands, which `cab.commands.common.options` describes.

    every: all variants were requested, so tasks that one of them does not support are skipped.
    """

    variants: Sequence[str]
    store: Path
    task: Sequence[str] = ()
    pattern: Sequence[str] = ()
    domain: Sequence[Domain] = ()
    suite: str | None = None
    profile: str = "quick"
    seeds: int | None = None
    settings: Sequence[str] = ()
    hybrid: str | None = None
    include: tuple[Path, ...] = ()
    data_dir: Path | None = None
    time_limit: float | None = None
    memory_limit: float | None = None
    force: bool = False
    unchecked: bool = False
    diagnostic: bool = False
    every: bool = False
    checkpoints: Path | None = None
    processes: int = 1


@dataclass
class Work:
    """A plan, and what was skipped or refused."""

    asked: Asked
    variants: Registry[VariantCard]
    tasks: Registry[TaskCard]
    records: "RecordStore"
    planned: "Plan"
    search: "Search"
    context: ForkServerContext | None = None
    left_out: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def plan_work(
    asked: Asked, variants: Registry[VariantCard] | None = None, *, start: bool = True
) -> Work:
    """Plan the requested cells.

    With `start` and a new store, where cells certainly have to run, the imports of the cells'
    processes begin in parallel with planning.
    """
    size = get_profile(asked.profile)
    size = replace(
        size,
        time_limit=asked.time_limit or size.time_limit,
        memory_limit=asked.memory_limit or size.memory_limit,
    )
    variants, tasks = variants or discover_variants(asked.include), discover_tasks(asked.include)
    for name in asked.variants:
        variants.entry(name)
    for problem in (*variants.problems, *tasks.problems):
        output.warn(problem)

    from cab.records.store import RecordStore
    from cab.running.fork_server import start_fork_server

    records = RecordStore(asked.store)
    fresh = start and not records.folder.exists()
    needed = tasks.only(*asked.task) if asked.task else tasks
    context = start_fork_server(needed) if fresh else None

    from cab.running.cells import Request, plan
    from cab.running.search import SEEDS, Search

    request = Request(
        variants=asked.variants,
        profile=size,
        seeds=asked.seeds,
        tasks=asked.task,
        patterns=read_patterns(asked.pattern),
        domains=asked.domain,
        suite=asked.suite,
        options=_options(asked),
        include=asked.include,
        unchecked=asked.unchecked,
        diagnostic=asked.diagnostic,
        every=asked.every,
        checkpoints=asked.checkpoints,
        processes=asked.processes,
        rates=size.scored,
    )
    planned = plan(request, variants, tasks)
    search = Search(asked.seeds or SEEDS)
    known = [] if asked.force else search.known(planned.cells, records)
    cells = (*planned.cells, *known)
    return Work(asked, variants, tasks, records, replace(planned, cells=cells), search, context)


def prepare(work: Work, device: "Device", workers: int = 1) -> "tuple[list[Cell], set[str], Path]":
    """Leave out cells whose data is missing and variants that break a law.

    Returns:
        The cells, the keys of those that are to run, and the folder of the data sets.
    """
    from cab.commands.cells.run_gate import pass_gate
    from cab.running.execution import is_done
    from cab.running.fork_server import start_fork_server

    asked, planned = work.asked, work.planned.cells
    directory = data_directory(asked.data_dir)
    to_run = {cell.key: cell for cell in planned if asked.force or not is_done(work.records, cell)}
    # What is done can be shown from a store that is read-only.
    if to_run or work.search.open(planned) or not (asked.store / "records").is_dir():
        check_writable(asked.store, asked.checkpoints)
    _look_for_weights(cell for cell in planned if cell.key not in to_run)
    if to_run and work.context is None:
        work.context = start_fork_server(
            work.tasks.only(*{cell.task.name for cell in to_run.values()})
        )
    cells, without_data = _with_data(planned, to_run.keys(), directory, bool(asked.task))
    work.left_out = [*work.planned.left_out, *without_data]
    for sentence in without_data if asked.every else work.left_out:
        output.warn(sentence)
    if asked.every and work.planned.left_out:
        output.warn("Some variants do not fit some tasks; --json lists the skipped pairs.")
    cells, work.refused = pass_gate(cells, to_run.keys(), device, work.context, workers)
    return cells, to_run.keys() & {cell.key for cell in cells}, directory


def check_writable(store: Path, checkpoints: Path | None = None) -> None:
    """Check, before any work, that records and weights can be written.

    Raises:
        CabError: a folder cannot be made, or no file in it.
    """
    try_writing(store / "records", "Records", folder=True)
    if checkpoints is not None:
        try_writing(checkpoints, "Weights", folder=True)


@contextmanager
def indexed(
    runner: "Runner", tracking: TrackingKind, uri: str | None, start: bool
) -> Iterator[None]:
    """Index the runner's records during the run; afterwards warn about failures."""
    from cab.tracking.connection import Tracking
    from cab.tracking.live import LiveIndex

    live = LiveIndex(Tracking.of_store(runner.store.root, uri))
    if tracking == TrackingKind.MLFLOW:
        runner.on_record = live.add
        if start:
            live.start()
    try:
        yield
        live.close()
    except Interrupted:
        kept = "Finished cells are kept. Rerun the same command to resume."
        raise Interrupted(kept) from None
    if live.problem:
        output.warn(live.problem)


def say_what_follows(work: Work, cells: "Sequence[Cell]") -> None:
    """Say how many cells the choice of learning rates will add to the run."""
    from cab.commands.cells.run_report import following

    if sentence := following(cells, work.search):
        output.say(sentence)


def hear(work: Work, finished: "Generator[Finished, None, None]", json: bool) -> "Tally":
    """Wait for all cells to end; if interrupted, stop them."""
    from cab.commands.cells.run_report import Tally

    tally = Tally(work.records, keep=json)
    with closing(finished):
        for one in finished:
            tally.add(one)
    return tally


def report(
    work: Work, cells: "Sequence[Cell]", tally: "Tally", json: bool, tracking: TrackingKind
) -> bool:
    """Print how cells ended; return whether all is well."""
    from cab.commands.cells.run_report import close, document, print_results
    from cab.commands.common.suites import print_suite, suite_of_store

    asked = work.asked
    followed = {cell.key: cell for cell in work.search.added if cell.key in tally.seen}
    cells = [*({cell.key: cell for cell in cells} | followed).values()]
    if json:
        found = document(tally, cells, work.left_out, work.refused, work.records)
        if asked.suite:
            found["suite"] = suite_of_store(asked.suite, work.tasks, work.records, asked.profile)
        output.print_json(found)
    elif cells:
        print_results(cells, work.records, work.variants, work.tasks, asked.profile)
        if asked.suite:
            print_suite(suite_of_store(asked.suite, work.tasks, work.records, asked.profile))
        close(tally, work.records, tracking == TrackingKind.MLFLOW)
    return not (tally.failed or work.refused)


def _options(asked: Asked) -> dict[str, str]:
    """The settings that were asked for; --hybrid is one of them."""
    given, hybrid = split_assignments(list(asked.settings)), _hybrid(asked.hybrid)
    for key in given.keys() & hybrid.keys():
        raise CabError(
            f"--hybrid {asked.hybrid} and --set {key}={given[key]} set the same. Give one of them."
        )
    return given | hybrid


def _hybrid(ratio: str | None) -> dict[str, str]:
    """Turn `6:1` into the setting model.hybrid=6."""
    if ratio is None:
        return {}
    layers, colon, one = ratio.partition(":")
    if not (layers.isdecimal() and int(layers) > 0 and colon and one == "1"):
        raise CabError(f"--hybrid {ratio!r} is not of the form K:1. Use for example --hybrid 6:1.")
    return {"model.hybrid": layers}


def _with_data(
    cells: Sequence["Cell"], to_run: Set[str], directory: Path, named: bool
) -> tuple[list["Cell"], list[str]]:
    """Drop cells whose data is missing; if the user named the tasks, raise an error instead.

    Data is inspected only for cells that will run.
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
        left_out.append(f"Skipping {', '.join(tasks)}: {sentence}")
    kept = [
        cell
        for cell in cells
        if cell.key not in to_run or not missing.keys() & set(cell.task.data)
    ]
    return kept, left_out


def _look_for_weights(done: Iterable["Cell"]) -> None:
    """Warn about finished cells that have no weights in the checkpoint folder."""
    without = [
        cell.title
        for cell in done
        if cell.checkpoints is not None and not (cell.checkpoints / f"{cell.key}.json").exists()
    ]
    if without:
        output.warn(
            f"No weights are saved for cells that finished before: {'; '.join(without)}. Use "
            "--force to retrain them."
        )
