"""The measurement protocol: each cell runs in its own process, in random order."""

import shlex
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerContext
from random import Random
from typing import Any

from cab.errors import CabError, Unsupported
from cab.measure.cell import row_key, work
from cab.measure.operators import choose, get_operator, make_case
from cab.measure.points import Cell, Limits, MechanismName, Pass, Point, sizes
from cab.measure.record import BenchRow, Status
from cab.records.fields import WRITTEN_TEXT
from cab.records.sources import source_hash
from cab.records.text import clean
from cab.registry import Registry
from cab.running.awake import TICK, AwakeClock
from cab.running.environment import git_state
from cab.taxonomy import Pattern, VariantCard

GRACE = 120.0
"""Seconds that a cell may take beyond its limit, for imports, checks and memory."""
DECODING: tuple[Pass, ...] = ("prefill", "decode")
PLACE = (
    *("subject", "role", "pattern", "passage", "length", "keys", "batch", "heads", "key_heads"),
    *("head_width", "value_width", "window", "alignment", "dtype"),
)


@dataclass(frozen=True)
class Request:
    """What to measure. If tokens > 0, batch x length is constant instead of the batch."""

    candidates: Sequence[MechanismName]
    baselines: Sequence[MechanismName]
    template: Point
    lengths: Sequence[int]
    passes: Sequence[Pass]
    patterns: Sequence[Pattern] = ()
    tokens: int = 0
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class BenchPlan:
    """The cells in the order of the grid, and a message for each combination that is skipped."""

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]


def plan(request: Request, variants: Registry[VariantCard]) -> BenchPlan:
    """List the cells of a request.

    Raises:
        CabError: a name is unknown, or no candidate supports a requested pattern.
    """
    cells, left_out = [], dict[str, None]()
    for pattern in request.patterns or tuple(Pattern):
        for passage in request.passes:
            if passage in DECODING and not pattern.causal:
                left_out[
                    f"Skipping {passage} in {pattern}: only causal patterns decode token by token."
                ] = None
                continue
            point = replace(request.template, pattern=pattern, passage=passage)
            offered = [c for c in request.candidates if offers(c, point, variants)]
            if not offered:
                names = ", ".join(one.label for one in request.candidates)
                sentence = f"{names} does not support {pattern} ({pattern.words})."
                if request.patterns:
                    raise Unsupported(sentence)
                continue
            beside = [one for one in request.baselines if offers(one, point, variants)]
            mechanisms = tuple({one.label: one for one in (*offered, *beside)}.values())
            for length in request.lengths:
                batch = max(1, request.tokens // length) if request.tokens else point.batch
                cells.append(
                    Cell(
                        replace(point, length=length, batch=batch),
                        mechanisms,
                        frozenset(one.label for one in offered),
                        frozenset(one.label for one in beside),
                        request.limits,
                        request.seed,
                        request.threads,
                    )
                )
    if not cells:
        raise CabError("There is nothing to measure. " + " ".join(left_out))
    return BenchPlan(tuple(cells), tuple(left_out))


def plan_apart(request: Request, variants: Registry[VariantCard]) -> BenchPlan:
    """List separate cells for each candidate, so that a crash of one does not stop the others.

    Patterns that a candidate does not support are skipped. If none remains, the candidate is
    skipped with a message.
    """
    cells, left_out = list[Cell](), dict[str, None]()
    for candidate in request.candidates:
        own = [
            pattern
            for pattern in request.patterns
            if offers(candidate, replace(request.template, pattern=pattern), variants)
        ]
        alone = replace(request, candidates=[candidate], patterns=own or request.patterns)
        try:
            found = plan(alone, variants)
        except CabError as error:
            left_out[str(error)] = None
            continue
        cells += found.cells
        left_out |= dict.fromkeys(found.left_out)
    return BenchPlan(tuple(cells), tuple(left_out))


def remaining(cells: Iterable[Cell], rows: Iterable[BenchRow]) -> list[Cell]:
    """Return the cells in which a candidate has no row yet."""
    done = {_place(vars(row)) for row in rows}
    return [
        cell
        for cell in cells
        if any(
            name.label in cell.candidates and _place(row_key(cell, name)) not in done
            for name in cell.mechanisms
        )
    ]


def without(rows: Iterable[BenchRow], again: Iterable[BenchRow]) -> list[BenchRow]:
    """Return the rows of candidates that are not in `again`, and all rows of baselines.

    A baseline has a row in every cell in which it was measured.
    """
    newer = {_place(vars(row)) for row in again if row.role == "candidate"}
    return [row for row in rows if _place(vars(row)) not in newer]


def _place(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the fields that identify a row of the grid."""
    return tuple(fields[name] for name in PLACE)


def offers(name: MechanismName, point: Point, variants: Registry[VariantCard]) -> bool:
    """Whether a mechanism supports the pattern of a point; other refusals become rows.

    Raises:
        UnknownName: the variant, operator or implementation does not exist.
    """
    if not name.operator:
        return point.pattern in variants.card(name.name).patterns
    operator = get_operator(name.operator)
    try:
        choose(operator, name.name, make_case(**sizes(point)))
    except Unsupported:
        # Every operator has a definition in CS, so a refusal there becomes a row with its reason.
        return point.pattern == Pattern.CS
    return True


@dataclass
class Runner:
    """Runs cells and returns their rows."""

    context: ForkServerContext
    variants: Registry[VariantCard]
    unchecked: bool = False
    started: Callable[[Cell], None] = lambda cell: None
    finished: Callable[[Cell, Sequence[BenchRow]], None] = lambda cell, rows: None
    invocation: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def run(self, cells: Iterable[Cell], seed: int = 0) -> list[BenchRow]:
        """Measure cells in random order, so that drift of the machine favours no length."""
        shuffled = list(cells)
        Random(seed).shuffle(shuffled)
        rows = []
        for cell in shuffled:
            rows.extend(self.run_cell(cell))
        return rows

    def run_cell(self, cell: Cell) -> list[BenchRow]:
        """Measure one cell in its own process; if the process dies, the rows report it."""
        self.started(cell)
        here, there = self.context.Pipe(duplex=False)
        process = self.context.Process(target=work, args=(cell, there))
        process.start()
        there.close()
        clock = AwakeClock()
        deadline = clock.now() + cell.limits.cell_seconds + GRACE
        try:
            while not (said := here.poll(TICK)) and clock.now() < deadline:
                pass
            if said:
                rows: list[BenchRow] = here.recv()
            else:
                rows = _lost(
                    cell,
                    "timeout",
                    "the cell was still running at its time limit; raise --time-limit.",
                )
        except EOFError:
            process.join()
            ended = (
                f"the cell's process ended with status {process.exitcode} before it was finished"
            )
            rows = _lost(cell, "error", ended + "; -9 often means that memory ran out.")
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            here.close()
        rows = [self._signed(row) for row in rows]
        self.finished(cell, rows)
        return rows

    def _signed(self, row: BenchRow) -> BenchRow:
        """Add what the parent process knows: source hash, command, revision."""
        revision, dirty = git_state()
        hashed = None if row.operator else source_hash(self.variants.entry(row.name).path)
        return row.model_copy(
            update={
                "source_hash": hashed,
                "unchecked": self.unchecked and not row.operator,
                "invocation": self.invocation,
                "command": shlex.join(["cab", *sys.argv[1:]]),
                "git_revision": revision,
                "git_dirty": dirty,
            }
        )


def _lost(cell: Cell, status: Status, message: str) -> list[BenchRow]:
    return [
        BenchRow(**row_key(cell, name), status=status, message=clean(message, WRITTEN_TEXT))
        for name in cell.mechanisms
    ]
