"""Run cells, several at once, and write a record for every one.

A cell is claimed by a lock in the store before it starts, and its record stands before the lock
is gone: of all the runs and sweeps on one store a single one runs it. Where a cell runs is another
matter (`cab.running.jobs.Places`): in processes of this machine, or elsewhere.
"""

import shlex
import sys
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout
from pydantic import ValidationError

from cab.errors import CabError
from cab.records.fields import WRITTEN_TEXT, first_fault
from cab.records.leftovers import clear_leftovers
from cab.records.store import Cost, Provenance, Record, RecordStore, with_evaluations_of
from cab.records.text import clean
from cab.running.cells import Cell
from cab.running.claims import Claim, given_up, reserve
from cab.running.environment import describe, git_state, usable_cores
from cab.running.jobs import Device, Ended, Jobs, Outcome, Places, stopping
from cab.running.processes import Processes
from cab.running.search import Search

RETRIED = ("error",)
"""Outcomes that depend on the circumstances more than on the variant; such cells are rerun."""

State = Literal["ran", "already done", "blocked"]


@dataclass(frozen=True)
class Finished:
    """A cell that has ended or was skipped: its record, or why there is none (blocked)."""

    cell: Cell
    state: State
    record: Record | None
    problem: str = ""


def is_done(store: RecordStore, cell: Cell) -> bool:
    """Whether a cell has finished; a corrupt record counts too, because it is not replaced."""
    try:
        record = store.read(cell.key)
    except CabError:
        return True
    return record is not None and record.status not in RETRIED


class Reporter(Protocol):
    """Receives the progress of a run."""

    def cell_started(self, cell: Cell) -> None:
        """A cell's process is about to start."""

    def cell_progress(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done some of its training steps."""

    def cell_waits(self, cell: Cell) -> None:
        """A cell is being run by another process on the same store."""

    def cell_finished(self, finished: Finished) -> None:
        """A cell has ended or was skipped."""

    def cells_added(self, cells: Sequence[Cell]) -> None:
        """More cells are to run, which follow from the result of one."""


@dataclass
class Runner:
    """Runs cells into a store, at some places (by default one process after the other, here).

    search: which cells follow from the records of others, such as more seeds at the chosen rate.
    code: the revision of the code and whether the tree is dirty, as they are before a cell runs.
    """

    store: RecordStore
    data_dir: Path
    device: Device
    reporter: Reporter
    force: bool = False
    on_record: Callable[[Record], None] = lambda record: None
    context: ForkServerContext | None = None
    invocation: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    command: str = field(default_factory=lambda: shlex.join(["cab", *sys.argv[1:]]))
    places: Places | None = None
    search: Search | None = None
    code: tuple[str | None, bool | None] = field(default_factory=git_state)

    def run(self, cells: Sequence[Cell]) -> list[Finished]:
        """Run the cells that have no record yet (all of them with force); return them in order.

        A failing cell does not stop the others. Cells whose record has status `error` are rerun.
        """
        with closing(self.each(cells)) as each:
            finished = {one.cell.key: one for one in each}
        return [finished[cell.key] for cell in cells]

    def each(self, cells: Sequence[Cell]) -> Generator[Finished, None, None]:
        """Run cells as `run` does, and yield each once, as soon as it needs nothing more.

        A cell that another process is running is left for the end and then looked at again.
        Whoever does not hear it to the end closes it, so that no process goes on.
        """
        waiting, busy = deque(cells), deque[Cell]()
        claims: dict[str, Claim] = {}
        jobs = Jobs(self.data_dir, self.device)
        clear_leftovers(self.store)

        def told(finished: Finished) -> Finished:
            waiting.extendleft(reversed(self.following(finished)))  # so that rows end early
            return self._told(finished)

        with given_up(claims), stopping(self.places or Processes(1, self.context)) as places:
            while waiting or busy or claims:
                while waiting and len(claims) < places.count:
                    claim = self._claim(waiting.popleft(), busy)
                    if isinstance(claim, Claim):
                        claims[claim.cell.key] = claim
                        claim = self._start(claims, claim, places, jobs)
                    if claim is not None:
                        yield told(claim)
                for event in places.wait(0.5) if claims or busy else ():
                    if isinstance(event, Ended):
                        yield told(self._store(claims.pop(event.key), event))
                    else:
                        cell = claims[event.key].cell
                        self.reporter.cell_progress(cell, event.done, event.total)
                if not waiting:
                    waiting, busy = busy, waiting

    def _start(
        self, claims: dict[str, Claim], claim: Claim, places: Places, jobs: Jobs
    ) -> Finished | None:
        """Start a claimed cell; if that fails, give it up and say why."""
        self.reporter.cell_started(claim.cell)
        try:
            places.start(jobs.of(claim.cell))
        except (CabError, OSError, EOFError) as error:
            claims.pop(claim.cell.key).give_up()
            problem = str(error) or f"Its process cannot be started: {type(error).__name__}."
            return Finished(claim.cell, "blocked", None, problem)
        return None

    def following(self, finished: Finished) -> list[Cell]:
        """The cells that follow from one that has ended."""
        if self.search is None:
            return []
        cells = self.search.follow(finished.cell, finished.record)
        if cells:
            self.reporter.cells_added(cells)
        return cells

    def _told(self, finished: Finished) -> Finished:
        self.reporter.cell_finished(finished)
        return finished

    def _claim(self, cell: Cell, busy: deque[Cell]) -> Claim | Finished | None:
        """Claim a cell unless it is done; if another process is at it, it goes to the busy."""
        try:
            if (done := self.finished(cell)) is not None:
                return done
            folder = self.store.locks
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{cell.key}.lock", timeout=0)
            lock.acquire()
            claim = Claim(cell, lock, folder / f"{cell.key}.space", datetime.now(UTC))
            try:
                done = self.finished(cell)
                if done is None:
                    reserve(claim.space)
            except BaseException:
                claim.give_up()
                raise
            if done is not None:
                claim.give_up(done=True)
            return done or claim
        except Timeout:
            self.reporter.cell_waits(cell)
            busy.append(cell)
            return None
        except (CabError, OSError) as error:
            return Finished(cell, "blocked", None, str(error))

    def _store(self, claim: Claim, ended: Ended) -> Finished:
        """Write the record of a cell that has ended, and give up the claim."""
        written = False
        try:
            record = self._record(claim, ended)
            if (before := self.store.read(record.key)) is not None:
                record = with_evaluations_of(before, record)
            self.store.write(record, claim.space)
            written = True
        except (CabError, OSError) as error:
            return Finished(claim.cell, "blocked", None, str(error))
        finally:
            claim.give_up(done=written)
        self.on_record(record)
        return Finished(claim.cell, "ran", record)

    def finished(self, cell: Cell) -> Finished | None:
        """A cell that needs no run: with its record, or blocked by a file that is none.

        None for one that does.
        """
        try:
            record = self.store.read(cell.key)
        except CabError as error:
            return Finished(cell, "blocked", None, str(error))
        if record is None or record.status in RETRIED or self._to_force(record):
            return None
        return Finished(cell, "already done", record)

    def _to_force(self, record: Record) -> bool:
        return self.force and record.provenance.invocation != self.invocation

    def _record(self, claim: Claim, ended: Ended) -> Record:
        """The record of a cell; an error where what it gave cannot stand in a record.

        Raises:
            CabError: not even that can be recorded, since the cell's own settings cannot.
        """
        try:
            return self._filled(claim, ended)
        except ValidationError as error:
            fault = first_fault(error, "the record")
        said = f"what the cell gave cannot be recorded: {fault}"
        outcome = Outcome("error", said, environment=ended.outcome.environment)
        try:
            return self._filled(claim, replace(ended, outcome=outcome))
        except ValidationError as error:
            fault = first_fault(error, "the record")
            raise CabError(f"its settings cannot be recorded: {fault}.") from None

    def _filled(self, claim: Claim, ended: Ended) -> Record:
        cell, outcome = claim.cell, ended.outcome
        revision, dirty = self.code
        return Record(
            key=cell.key,
            variant=cell.variant_info(outcome.parameters),
            task=cell.task_info(outcome.data_fingerprint),
            seed=cell.seed,
            settings=cell.settings(),
            status=outcome.status,
            message=clean(outcome.message, WRITTEN_TEXT),
            metrics=outcome.metrics,
            shortcuts=outcome.shortcuts,
            curve=tuple(outcome.curve),
            cost=Cost(**{**outcome.cost, "total_seconds": ended.seconds}),
            environment=outcome.environment or describe(self.device, usable_cores()),
            provenance=Provenance(
                invocation=self.invocation,
                command=clean(self.command, WRITTEN_TEXT),
                git_revision=revision,
                git_dirty=dirty,
                started=claim.started,
                # By the clock that is never set back.
                ended=claim.started + timedelta(seconds=ended.seconds),
            ),
        )
