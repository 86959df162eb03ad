"""Progress of a run: bars with remaining time on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cab.cells import Cell
from cab.commands import output
from cab.execution import Finished


def describe(finished: Finished) -> str:
    """Say in one line how a cell ended."""
    cell, record = finished.cell, finished.record
    if record is None:
        return f"{cell.title}: not run. {finished.problem}"
    if finished.state == "already done":
        return f"{cell.title}: already done ({record.status})"
    took = f"in {record.cost.total_seconds:.1f} s"
    if record.status != "ok":
        return f"{cell.title}: {record.status} {took}. {record.message}"
    result = record.metrics.test[record.task.metric]
    return (
        f"{cell.title}: {record.task.metric} {result.value:.4f} "
        f"± {1.96 * result.standard_error:.4f} {took}"
    )


class RunProgress:
    """Shows a run on stderr; a `Reporter` of `cab.execution`."""

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
        steps = sum(cell.recipe.train.steps for cell in cells)
        self._all = self._bars.add_task("all cells, in steps", total=steps)
        self._current = self._bars.add_task("", total=None, visible=False)
        self._seen = 0
        self._waiting: set[str] = set()

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
        self._seen = 0
        self._bars.reset(
            self._current,
            description=escape(cell.title),
            total=cell.recipe.train.steps,
            visible=True,
        )
        if not self._live:
            output.say(f"[{self._finished + 1}/{self._total}] {cell.title}: started")

    def cell_progress(self, cell: Cell, done: int, total: int) -> None:
        """A cell has done some of its training steps."""
        self._bars.update(self._current, completed=done)
        self._bars.advance(self._all, done - self._seen)
        self._seen = done

    def cell_waits(self, cell: Cell) -> None:
        """A cell is being run by another process on the same store."""
        if cell.key not in self._waiting:
            self._waiting.add(cell.key)
            output.say(f"{cell.title}: another process is running it; waiting for its record")

    def cell_finished(self, finished: Finished) -> None:
        """A cell needs nothing more."""
        self._finished += 1
        self._bars.advance(self._all, finished.cell.recipe.train.steps - self._seen)
        self._seen = 0
        self._bars.update(self._current, visible=False)
        if finished.state != "already done":
            output.say(f"[{self._finished}/{self._total}] {describe(finished)}")
