"""How `cab bench` runs a plan: check, measure, save every row, resume."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cab.commands.common import output
from cab.commands.measurements.bench_table import place
from cab.commands.measurements.measuring import refused_variants
from cab.errors import Interrupted
from cab.registry import Registry
from cab.taxonomy import Pattern, VariantCard

if TYPE_CHECKING:
    from cab.measure.points import Cell
    from cab.measure.protocol import BenchPlan
    from cab.measure.record import BenchRow


def measure(
    plan: "BenchPlan",
    variants: Registry[VariantCard],
    seed: int,
    path: Path | None,
    *,
    resume: bool,
    unchecked: bool,
) -> "tuple[list[BenchRow], dict[tuple[str, Pattern], str]]":
    """Measure the cells of a plan; return all rows, and the reasons why variants were refused.

    Args:
        plan: the cells to measure.
        variants: the registry with the plan's variants.
        seed: determines the order of the cells.
        path: the file for all rows; if its name ends in .jsonl it is extended after every cell.
        resume: keep the rows in `path`, and skip their cells.
        unchecked: do not check the variants against the laws.
    """
    from cab.measure.protocol import Runner, remaining
    from cab.measure.record import write_rows
    from cab.records.files import alone
    from cab.running.fork_server import start_fork_server

    with alone(path, "cab bench") if path and path.suffix == ".jsonl" else nullcontext():
        context = start_fork_server()
        refused = {} if unchecked else refused_variants(plan.cells, variants, context)
        cells = [cell for one in plan.cells if (cell := _without(one, refused)) is not None]
        before = _before(path, variants) if resume and path is not None and path.exists() else []
        cells = remaining(cells, before)
        progress = _Progress(len(cells), before, path)
        runner = Runner(context, variants, unchecked, progress.started, progress.finished)
        try:
            runner.run(cells, seed)
        except Interrupted:
            if path is None or not progress.rows:
                raise
            write_rows(sorted(progress.rows, key=place), path)
            raise Interrupted(f"The rows measured so far are in {path}.") from None
        rows = sorted(progress.rows, key=place)
        if path is not None:
            write_rows(rows, path)
    return rows, refused


def _before(path: Path, variants: Registry[VariantCard]) -> "list[BenchRow]":
    """Return the rows of an interrupted run, without disturbed and stale ones."""
    from cab.measure.record import drop_cut_line, read_rows
    from cab.measure.stale import part_by_source

    if drop_cut_line(path):
        output.warn(f"The last line of {path} is incomplete; its cell is measured anew.")
    rows = read_rows(path)
    quiet = [row for row in rows if not row.disturbed]
    if len(quiet) < len(rows):
        output.say(
            f"{len(rows) - len(quiet)} rows of {path} are disturbed; they are measured anew."
        )
    kept, stale = part_by_source(quiet, variants)
    if names := sorted({row.subject for row in stale}):
        output.say(
            f"The source of {', '.join(names)} has changed since {path} was written; the rows are "
            f"measured anew."
        )
    return kept


def _without(cell: "Cell", refused: dict[tuple[str, Pattern], str]) -> "Cell | None":
    """Remove refused mechanisms from a cell; None if no candidate is left."""
    kept = tuple(s for s in cell.mechanisms if (s.label, cell.point.pattern) not in refused)
    if not any(one.label in cell.candidates for one in kept):
        return None
    return replace(cell, mechanisms=kept)


class _Progress:
    """Prints one line per cell on stderr, and collects and saves the rows."""

    def __init__(self, total: int, before: Sequence["BenchRow"], path: Path | None) -> None:
        self._total, self._done = total, 0
        self._path = path if path is not None and path.suffix == ".jsonl" else None
        self.rows: list[BenchRow] = list(before)
        if self._path is not None and not before:
            self._path.unlink(missing_ok=True)

    def started(self, cell: "Cell") -> None:
        """Report that a cell is about to start."""
        output.say(f"[{self._done + 1}/{self._total}] {cell.point.title}")

    def finished(self, cell: "Cell", rows: Sequence["BenchRow"]) -> None:
        """Save the rows of a finished cell, and warn of failures."""
        from cab.measure.protocol import without
        from cab.measure.record import append_rows

        self._done += 1
        self.rows = [*without(self.rows, rows), *rows]
        if self._path is not None:
            append_rows(rows, self._path)
        for row in rows:
            if row.status != "ok":
                output.warn(f"{row.subject}, {cell.point.title}: {row.status}. {row.message}")
