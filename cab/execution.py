"""Run cells, each in its own process, with limits; write a record for every one.

Processes come from a fork server (see `cab.fork_server`), so that a cell starts in milliseconds
and what one cell does to its process no other cell sees.
"""

import shlex
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout

from cab.cells import Cell
from cab.environment import describe, git_state, usable_cores
from cab.errors import CabError
from cab.fork_server import start_fork_server
from cab.records import Cost, Provenance, Record, RecordStore, Settings, TaskInfo, VariantInfo
from cab.worker import Job, Outcome, work

RETRIED = ("error",)
"""Outcomes that say more of the circumstances than of the variant: such cells run again."""

State = Literal["ran", "already done", "blocked"]


@dataclass(frozen=True)
class Finished:
    """A cell that needs nothing more: its record, or why there is none (blocked)."""

    cell: Cell
    state: State
    record: Record | None
    problem: str = ""


def is_done(store: RecordStore, cell: Cell) -> bool:
    """Whether a cell needs no run; a file that is no record counts as done, it is not replaced."""
    try:
        record = store.read(cell.key)
    except CabError:
        return True
    return record is not None and record.status not in RETRIED


class Reporter(Protocol):
    """Hears how a run goes."""

    def cell_started(self, cell: Cell) -> None:
        """A cell's process is about to start."""

    def cell_progress(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done some of its training steps."""

    def cell_waits(self, cell: Cell) -> None:
        """A cell is being run by another process on the same store."""

    def cell_finished(self, finished: Finished) -> None:
        """A cell needs nothing more."""


@dataclass
class Runner:
    """Runs cells into a store."""

    store: RecordStore
    data_dir: Path
    device: Literal["cpu", "cuda"]
    reporter: Reporter
    force: bool = False
    on_record: Callable[[Record], None] = lambda record: None
    context: ForkServerContext | None = None
    invocation: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def run(self, cells: Sequence[Cell]) -> list[Finished]:
        """Run the cells that have no record yet (all of them with force), in order.

        A cell that another process is running is left for the end and then looked at again. A
        failing cell never stops the others. Records of status `error` are tried again.
        """
        finished: dict[str, Finished] = {}
        waiting = list(cells)
        while waiting:
            busy = []
            for cell in waiting:
                done = self._claim_and_run(cell)
                if done is None:
                    self.reporter.cell_waits(cell)
                    busy.append(cell)
                else:
                    finished[cell.key] = done
                    self.reporter.cell_finished(done)
            waiting = busy
            if busy:
                time.sleep(0.5)
        return [finished[cell.key] for cell in cells]

    def _claim_and_run(self, cell: Cell) -> Finished | None:
        """Run a cell unless it is done; None says that another process is at it."""
        try:
            if (done := self._done(cell)) is not None:
                return done
            folder = self.store.root / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            lock = folder / f"{cell.key}.lock"
            with FileLock(lock, timeout=0):
                if (done := self._done(cell)) is not None:
                    return done
                record = self._run_cell(cell)
                self.store.write(record)
                # Whoever waits on this file looks for the record first, so it may go.
                lock.unlink(missing_ok=True)
        except Timeout:
            return None
        except (CabError, OSError) as error:
            return Finished(cell, "blocked", None, str(error))
        self.on_record(record)
        return Finished(cell, "ran", record)

    def _done(self, cell: Cell) -> Finished | None:
        record = self.store.read(cell.key)
        if record is None or record.status in RETRIED or self._to_force(record):
            return None
        return Finished(cell, "already done", record)

    def _to_force(self, record: Record) -> bool:
        return self.force and record.provenance.invocation != self.invocation

    def _run_cell(self, cell: Cell) -> Record:
        self.reporter.cell_started(cell)
        started, clock = datetime.now(UTC), time.monotonic()
        self.context = self.context or start_fork_server([cell.task])
        here, there = self.context.Pipe(duplex=False)
        job = Job(cell, self.data_dir, self.device)
        process = self.context.Process(target=work, args=(job, there))
        process.start()
        there.close()
        try:
            outcome = self._listen(cell, process, here, clock + cell.profile.time_limit)
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            here.close()
        outcome.cost["total_seconds"] = time.monotonic() - clock
        return self._record(cell, outcome, started)

    def _listen(
        self, cell: Cell, process: ForkServerProcess, connection: Connection, deadline: float
    ) -> Outcome:
        while connection.poll(max(0.0, deadline - time.monotonic())):
            try:
                kind, content = connection.recv()
            except EOFError:
                process.join()
                return Outcome(status="error", message=_death(process.exitcode))
            if kind == "outcome":
                assert isinstance(content, Outcome)
                return content
            self.reporter.cell_progress(cell, *content)
        return Outcome(
            status="timeout",
            message=f"not finished after {cell.profile.time_limit:g} s, the limit of the profile "
            f"{cell.profile.name}",
        )

    def _record(self, cell: Cell, outcome: Outcome, started: datetime) -> Record:
        revision, dirty = git_state()
        return Record(
            key=cell.key,
            variant=VariantInfo(
                name=cell.variant.name,
                source_hash=cell.source_hash,
                config=cell.config,
                options=cell.options,
                parameters=outcome.parameters,
                unchecked=cell.unchecked,
            ),
            task=TaskInfo(
                name=cell.task.name,
                version=cell.task.version,
                profile=cell.profile.name,
                pattern=cell.task.pattern,
                domain=cell.task.domain,
                metric=cell.task.metric,
                higher_is_better=cell.task.higher_is_better,
                data_fingerprint=outcome.data_fingerprint,
            ),
            seed=cell.seed,
            settings=Settings(recipe=cell.recipe.as_dict(), changed=cell.changed),
            status=outcome.status,
            message=outcome.message,
            metrics=outcome.metrics,
            shortcuts=outcome.shortcuts,
            curve=tuple(outcome.curve),
            cost=Cost(**outcome.cost),
            environment=outcome.environment or describe(self.device, usable_cores()),
            provenance=Provenance(
                invocation=self.invocation,
                command=shlex.join(["cab", *sys.argv[1:]]),
                git_revision=revision,
                git_dirty=dirty,
                started=started,
                ended=datetime.now(UTC),
            ),
        )


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return (
            f"the cell's process was killed by signal {-code}; signal 9 often comes from the "
            f"kernel when the machine is out of memory"
        )
    return f"the cell's process ended with status {code} before it gave a result"
