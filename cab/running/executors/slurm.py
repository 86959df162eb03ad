"""Sweeps on Slurm: an array of jobs, each of which runs its share of the cells into the store.

The store is on a disk that all nodes share, as Slurm's own files must be. The jobs need nobody to
wait for them: each claims its cells, runs them as a sweep on one machine does, and writes their
records. A job that is preempted or out of time is queued again and goes on with what is missing.
"""

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cab.errors import CabError, counted
from cab.records.store import Record, RecordStore
from cab.running.cells import Cell
from cab.running.execution import RETRIED, Finished, Runner
from cab.running.executors.local import LocalExecutor
from cab.running.executors.slurm_jobs import Jobs, last_line
from cab.running.search import Search, group_of

WORKERS = 1
LOOK_AGAIN = 2.0
"""Seconds between two looks at the store."""


@dataclass(frozen=True)
class SlurmExecutor:
    """Cells as shares of the jobs of an array, by submitit.

    Args:
        jobs: how many jobs, at most.
        device: `auto` is what each node has.
        workers, threads, cells_per_gpu, processes: of each job, as in a sweep on one machine.
        options: parameters of submitit's executor, such as slurm_partition or timeout_min.
        cluster: `local` and `debug` run the same jobs here, without Slurm.
    """

    jobs: int
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int | None = None
    threads: int = 1
    cells_per_gpu: int = 1
    processes: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    cluster: str = "slurm"

    @property
    def said(self) -> str:
        """How they run, in words."""
        each = f"{self.workers or WORKERS} at once, {counted(self.threads, 'thread')} each"
        return f"in at most {self.jobs} jobs of {self.cluster}, {each}"

    def run(self, cells: Sequence[Cell], runner: Runner) -> Generator[Finished, None, None]:
        """Submit the cells that are missing; yield each cell once, when its record is there."""
        pending: dict[str, Cell] = {}
        waiting = deque(cells)
        while waiting:
            cell = waiting.popleft()
            if (done := runner.finished(cell)) is None:
                pending[cell.key] = cell
            else:
                waiting.extend(runner.following(done))
                yield _told(done, runner)
        if not pending:
            return
        jobs = Jobs(self._submit(list(pending.values()), runner), self.cluster)
        try:
            yield from self._watch(pending, jobs, runner)
        except BaseException:
            jobs.cancel()
            raise

    def _submit(self, cells: Sequence[Cell], runner: Runner) -> list[Any]:
        executor = self._executor(runner.store.root.resolve() / "jobs")
        groups: dict[str, list[Cell]] = {}  # one job has all rates of a search
        for cell in cells:
            groups.setdefault(group_of(cell), []).append(cell)
        count = min(self.jobs, len(groups))
        ordered = [groups[name] for name in sorted(groups)]
        shares = [
            Share(
                [cell for group in ordered[number::count] for cell in group],
                runner.store.root.resolve(),
                runner.data_dir,
                runner.invocation,
                runner.command,
                runner.force,
                self,
                runner.search,
            )
            for number in range(count)
        ]
        try:
            with executor.batch():
                return [executor.submit(share) for share in shares]
        except (OSError, RuntimeError) as error:  # submitit's own are among the latter
            raise CabError(f"Slurm did not accept the jobs: {last_line(error)}") from None

    def _executor(self, folder: Path) -> Any:
        try:
            import submitit
        except ImportError:
            raise CabError(
                "--executor slurm needs submitit: pip install "
                "'comprehensive-attention-benchmark[slurm]'."
            ) from None
        workers = self.workers or (self.cells_per_gpu if self.device == "cuda" else WORKERS)
        settings: dict[str, Any] = {
            "name": "cab",
            "cpus_per_task": workers * self.threads,
            "timeout_min": 24 * 60,
        }
        if self.device == "cuda":
            settings["gpus_per_node"] = self.processes
        try:
            executor = submitit.AutoExecutor(folder / "%j", cluster=self.cluster)
            executor.update_parameters(**settings | {k: _read(v) for k, v in self.options.items()})
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise CabError(f"Slurm did not accept the jobs: {error}") from None
        return executor

    def _watch(self, pending: dict[str, Cell], jobs: "Jobs", runner: Runner) -> Iterator[Finished]:
        """Look for records until all are there or no job is left that could write one."""
        while pending:
            over = jobs.over()  # asked first: the last look comes after it
            more = False
            for key in _keys(runner.store) & pending.keys():
                try:
                    record = runner.store.read(key)
                except CabError as error:
                    yield _told(Finished(pending.pop(key), "blocked", None, str(error)), runner)
                    continue
                if record is not None and _of_now(record, runner):
                    runner.on_record(record)
                    ran = Finished(pending.pop(key), "ran", record)
                    following = {cell.key: cell for cell in runner.following(ran)}
                    pending |= following
                    more = more or bool(following)
                    yield _told(ran, runner)
            if more:  # their records may be there already
                continue
            if over:
                problems, other = jobs.problems(), jobs.problem()
                for key in list(pending):
                    problem = problems.get(key, other)
                    yield _told(Finished(pending.pop(key), "blocked", None, problem), runner)
            elif pending:
                time.sleep(LOOK_AGAIN)


@dataclass
class Share:
    """What one job does: a picklable call without arguments, as submitit takes it."""

    cells: Sequence[Cell]
    store: Path
    data_dir: Path
    invocation: str
    command: str
    force: bool
    how: SlurmExecutor
    search: Search | None = None

    def __call__(self) -> dict[str, str]:
        """Run the cells of this share that have no record; say why some could not, by key."""
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(self.how.threads)
        import torch

        cuda = self.how.device != "cpu" and torch.cuda.is_available()
        if self.how.device == "cuda" and not cuda:
            raise CabError(
                "This node has no CUDA device. Request one with --slurm gpus_per_node=1."
            )
        device: Literal["cpu", "cuda"] = "cuda" if cuda else "cpu"
        workers = self.how.workers or (None if cuda else WORKERS)
        runner = Runner(
            RecordStore(self.store),
            self.data_dir,
            device,
            _Silent(),
            self.force,
            invocation=self.invocation,
            command=self.command,
            search=self.search,
        )
        local = LocalExecutor.here(
            device, workers, self.how.threads, self.how.cells_per_gpu, self.how.processes
        )
        finished = local.run(self.cells, runner)
        return {one.cell.key: one.problem for one in finished if one.state == "blocked"}

    def checkpoint(self, *arguments: Any, **keywords: Any) -> Any:
        """What submitit queues again when a job is preempted: the same share."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments, **keywords)


class _Silent:
    """A `Reporter` for jobs that nobody looks at."""

    def cell_started(self, cell: Cell) -> None:
        """Say nothing."""

    def cell_progress(self, cell: Cell, done: int, total: int) -> None:
        """Say nothing."""

    def cell_waits(self, cell: Cell) -> None:
        """Say nothing."""

    def cell_finished(self, finished: Finished) -> None:
        """Say nothing."""

    def cells_added(self, cells: Sequence[Cell]) -> None:
        """Say nothing."""


def _keys(store: RecordStore) -> set[str]:
    return {path.stem for path in store.folder.glob("*.json")}


def _told(finished: Finished, runner: Runner) -> Finished:
    runner.reporter.cell_finished(finished)
    return finished


def _of_now(record: Record, runner: Runner) -> bool:
    """Whether a record is one that this sweep waited for, not one that it replaces."""
    mine = record.provenance.invocation == runner.invocation
    return mine or not (runner.force or record.status in RETRIED)


def _read(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
