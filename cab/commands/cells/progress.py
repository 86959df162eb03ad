"""Progress of a run: bars with remaining time on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cab.commands.common import output
from cab.records.text import tidy
from cab.running.cells import Cell
from cab.running.execution import Finished

SECONDS_BETWEEN = 60.0


def describe(finished: Finished) -> str:
    """Say in one line how a cell ended."""
    cell, record = finished.cell, finished.record
    if record is None:
        return f"{cell.title}: not run. {finished.problem}"
    if finished.state == "already done":
        return f"{cell.title}: skipped, finished before ({record.status})"
    took = f"in {record.cost.total_seconds:.1f} s"
    if record.status != "ok":
        return f"{cell.title}: {record.status} {took}. {record.message}"
    result = record.metrics.test[record.task.metric]
    return (
        f"{cell.title}: {record.task.metric} {result.value:.4f} "
        f"± {1.96 * result.standard_error:.4f} {took}"
    )


class RunProgress:
    """Shows a run on stderr, several cells at once; a `Reporter` of `cab.running.execution`."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._total, self._finished = len(cells), 0
        self._live = output.err.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=output.err,
            disable=not self._live,
        )
        self._steps = self._asked = sum(cell.recipe.train.steps for cell in cells)
        self._all = self._bars.add_task("all cells, in steps", total=self._asked)
        self._current: dict[str, TaskID] = {}
        self._seen: dict[str, int] = {}
        self._waiting: set[str] = set()
        self._pace = Pace(time.monotonic())

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def cell_started(self, cell: Cell) -> None:
        """A cell's process is about to start."""
        self._seen[cell.key] = 0
        self._current[cell.key] = self._bars.add_task(
            escape(tidy(cell.title)), total=cell.recipe.train.steps
        )
        if not self._live:
            number = self._finished + len(self._current)
            output.say(f"[{number}/{self._total}] {cell.title}: started")

    def cell_progress(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done some of its training steps."""
        self._bars.update(self._current[cell.key], completed=done)
        self._bars.advance(self._all, done - self._seen[cell.key])
        self._seen[cell.key] = done

    def cell_waits(self, cell: Cell) -> None:
        """A cell is being run by another process on the same store."""
        if cell.key not in self._waiting:
            self._waiting.add(cell.key)
            output.say(
                f"{cell.title}: another process is running this cell; waiting for its record"
            )

    def cells_added(self, cells: Sequence[Cell]) -> None:
        """More cells are to run, which follow from the result of one."""
        steps = sum(cell.recipe.train.steps for cell in cells)
        self._total += len(cells)
        self._steps += steps
        self._asked += steps
        self._bars.update(self._all, total=self._asked)

    def cell_finished(self, finished: Finished) -> None:
        """A cell has ended or was skipped."""
        cell = finished.cell
        steps = cell.recipe.train.steps
        self._finished += 1
        self._steps -= steps
        if finished.state == "already done":  # a skipped cell says nothing about the speed
            self._asked -= steps
            self._bars.update(self._all, total=self._asked)
            return
        self._bars.advance(self._all, steps - self._seen.pop(cell.key, 0))
        if (bar := self._current.pop(cell.key, None)) is not None:
            self._bars.remove_task(bar)
        output.say(f"[{self._finished}/{self._total}] {describe(finished)}")
        left = self._pace.left(steps, self._steps, time.monotonic())
        if left and not self._live:
            output.say(f"[{self._finished}/{self._total}] about {left} left")


class Pace:
    """Estimates the remaining time about once a minute, where no progress bar is drawn."""

    def __init__(self, now: float) -> None:
        self._began = self._said = now
        self._done = 0

    def left(self, steps: int, rest: int, now: float) -> str:
        """Count finished steps; return the remaining time in words, at most once a minute."""
        self._done += steps
        if now - self._said < SECONDS_BETWEEN or not rest:
            return ""
        self._said = now
        minutes = (now - self._began) / self._done * rest / 60
        return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{max(1, round(minutes))} min"
