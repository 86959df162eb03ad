"""What `cab run` and `cab sweep` share: what comes before their cells run, and after."""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

from cab.commands import output
from cab.commands.options import TrackingKind, read_patterns
from cab.data import data_directory, get_data_set, inspect
from cab.errors import CabError, Interrupted
from cab.profiles import get_profile
from cab.registry import Registry, discover_tasks, discover_variants
from cab.settings import split_assignments
from cab.taxonomy import Domain, TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.commands.run_report import Tally
    from cab.records.store import RecordStore
    from cab.running.cells import Cell, Plan
    from cab.running.execution import Finished, Runner
    from cab.running.jobs import Device


@dataclass(frozen=True)
class Asked:
    """The options that both commands have; what they mean stands in `cab.commands.options`.

    every: all variants are asked for, so that what one of them does not offer is left out.
    """

    variants: Sequence[str]
    store: Path
    task: Sequence[str] = ()
    pattern: Sequence[str] = ()
    domain: Sequence[Domain] = ()
    profile: str = "quick"
    seeds: int = 1
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
    """A plan, and what is known of it."""

    asked: Asked
    variants: Registry[VariantCard]
    tasks: Registry[TaskCard]
    records: "RecordStore"
    planned: "Plan"
    context: ForkServerContext | None = None
    left_out: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def plan_work(
    asked: Asked, variants: Registry[VariantCard] | None = None, *, start: bool = True
) -> Work:
    """Plan what was asked for.

    With `start` and a fresh store, where there is surely something to run, the imports of the
    cells' processes begin beside those of planning.
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

    request = Request(
        variants=asked.variants,
        profile=size,
        seeds=asked.seeds,
        tasks=asked.task,
        patterns=read_patterns(asked.pattern),
        domains=asked.domain,
        options=split_assignments(list(asked.settings)) | _hybrid(asked.hybrid),
        include=asked.include,
        unchecked=asked.unchecked,
        diagnostic=asked.diagnostic,
        every=asked.every,
        checkpoints=asked.checkpoints,
        processes=asked.processes,
    )
    return Work(asked, variants, tasks, records, plan(request, variants, tasks), context)


def prepare(work: Work, device: "Device", workers: int = 1) -> "tuple[list[Cell], set[str], Path]":
    """Leave out what lacks its data and what breaks a law.

    Returns:
        The cells, the keys of those that are to run, and the folder of the data sets.
    """
    from cab.commands.run_gate import pass_gate
    from cab.running.execution import is_done
    from cab.running.fork_server import start_fork_server

    asked, planned = work.asked, work.planned.cells
    directory = data_directory(asked.data_dir)
    to_run = {cell.key: cell for cell in planned if asked.force or not is_done(work.records, cell)}
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
        output.warn("Not every variant goes with every task; --json lists what is left out.")
    cells, work.refused = pass_gate(cells, to_run.keys(), device, work.context, workers)
    return cells, to_run.keys() & {cell.key for cell in cells}, directory


def check_writable(records: "RecordStore") -> None:
    """Say before anything runs that no record could be written.

    Raises:
        CabError: the folder cannot be made, or no file in it.
    """
    try:
        records.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=records.folder, prefix=".writing-"):
            pass
    except OSError as error:
        raise CabError(
            f"The store {records.root} cannot be written: {error}. Give another with --store."
        ) from None


@contextmanager
def indexed(
    runner: "Runner", tracking: TrackingKind, uri: str | None, start: bool
) -> Iterator[None]:
    """Index the runner's records while it runs; afterwards warn of what is not in the index."""
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
        kept = "Records of finished cells are kept; the same command goes on."
        raise Interrupted(kept) from None
    if live.problem:
        output.warn(live.problem)


def hear(work: Work, finished: "Generator[Finished, None, None]", json: bool) -> "Tally":
    """Hear cells to their end; if that is cut off, end them."""
    from cab.commands.run_report import Tally

    tally = Tally(work.records, keep=json)
    with closing(finished):
        for one in finished:
            tally.add(one)
    return tally


def report(
    work: Work, cells: "Sequence[Cell]", tally: "Tally", json: bool, tracking: TrackingKind
) -> bool:
    """Print how cells ended; return whether all is well."""
    from cab.commands.run_report import close, document, print_results

    if json:
        output.print_json(document(tally, cells, work.left_out, work.refused, work.records))
    elif cells:
        print_results(cells, work.records, work.variants, work.tasks, work.asked.profile)
        close(tally, work.records, tracking == TrackingKind.MLFLOW)
    return not (tally.failed or work.refused)


def _hybrid(ratio: str | None) -> dict[str, str]:
    """Read `6:1` as the setting that it stands for."""
    if ratio is None:
        return {}
    layers, colon, one = ratio.partition(":")
    if not (layers.isdecimal() and int(layers) > 0 and colon and one == "1"):
        raise CabError(f"--hybrid takes K:1, such as 6:1, not {ratio!r}.")
    return {"model.hybrid": layers}


def _with_data(
    cells: Sequence["Cell"], to_run: Set[str], directory: Path, named: bool
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
