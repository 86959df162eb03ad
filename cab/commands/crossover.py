"""`cab crossover`: the length from which a variant is cheaper than a baseline."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.common import output
from cab.commands.common.options import (
    Device,
    Include,
    Json,
    Patterns,
    choose_device,
    read_patterns,
)
from cab.commands.measurements.measuring import (
    Batch,
    Dtype,
    HeadDim,
    Heads,
    MemoryLimit,
    Samples,
    Seconds,
    Seed,
    Set,
    Threads,
    TimeLimit,
    Tokens,
    Unchecked,
    Window,
    read_choice,
    read_list,
    read_mechanism,
    refused_variants,
    thread_count,
)
from cab.errors import CabError
from cab.records.files import try_writing
from cab.registry import discover_variants
from cab.settings import split_assignments
from cab.taxonomy import Pattern

if TYPE_CHECKING:
    from cab.measure.crossover import Crossover
    from cab.measure.points import Cell
    from cab.measure.protocol import Runner
    from cab.measure.record import BenchRow
    from cab.measure.statistics import Ratio

LONGEST = {"cpu": 8192, "cuda": 65536}
QUANTITIES = ("time", "memory")


def crossover(
    mechanism: Annotated[str, typer.Argument(help="A variant or OPERATOR:IMPLEMENTATION.")],
    baseline: Annotated[
        str, typer.Option(help="Baselines, as a,b: variants or OPERATOR:IMPLEMENTATION.")
    ],
    pattern: Patterns = None,
    pass_: Annotated[
        str, typer.Option("--pass", help="Passes, as a,b: fwd_no_grad, fwd, bwd, fwd_bwd, decode.")
    ] = "fwd_no_grad,fwd_bwd",
    shortest: Annotated[int, typer.Option(min=1, help="Shortest length in tokens.")] = 256,
    longest: Annotated[
        int,
        typer.Option(min=0, help="Longest length in tokens; 0: 8,192 on a CPU, 65,536 on CUDA."),
    ] = 0,
    dtype: Dtype = "float32",
    heads: Heads = 4,
    head_dim: HeadDim = 64,
    batch: Batch = 1,
    tokens: Tokens = 0,
    window: Window = 0,
    set_: Set = None,
    include: Include = None,
    samples: Samples = 30,
    seconds: Seconds = 1.0,
    time_limit: TimeLimit = 600.0,
    memory_limit: MemoryLimit = 8.0,
    threads: Threads = 0,
    seed: Seed = 0,
    unchecked: Unchecked = False,
    device: Device = "auto",
    rows: Annotated[
        Path | None, typer.Option(help="Write all measured rows to this file (.json or .jsonl).")
    ] = None,
    json: Json = False,
) -> None:
    """Find the length from which a variant is cheaper, by bisection.

    Time and memory have separate crossover lengths. The table also shows the efficiency length of
    the CAB paper, which is fitted and may extrapolate.
    """
    from cab.measure.points import PASSES, Limits, Point
    from cab.measure.protocol import Request, Runner, plan
    from cab.measure.record import write_rows
    from cab.running.fork_server import start_fork_server

    if rows is not None:
        try_writing(rows, "The measurements")
    files = tuple(include or ())
    variants = discover_variants(files)
    chosen = choose_device(device)
    end = longest or LONGEST[chosen]
    if end <= shortest:
        raise CabError(f"--longest is {end}, but must be above --shortest, which is {shortest}.")
    settings = split_assignments(set_ or [])
    candidate = read_mechanism(mechanism, variants, settings, files)
    baselines = [
        read_mechanism(one, variants, {}, files) for one in read_list(baseline, "--baseline")
    ]
    if candidate.label in [one.label for one in baselines]:
        raise CabError(f"{candidate.label} is its own --baseline; name another one.")
    kind = read_choice(dtype, ("float64", "float32", "bfloat16", "float16"), "dtype")
    request = Request(
        candidates=[candidate],
        baselines=baselines,
        template=Point(
            Pattern.CS,
            "fwd_no_grad",
            length=1,
            batch=batch,
            heads=heads,
            head_width=head_dim,
            dtype=kind,  # type: ignore[arg-type]
            device=chosen,
            window=window,
        ),
        lengths=[shortest],
        passes=[read_choice(one, PASSES, "pass") for one in read_list(pass_, "--pass")],  # type: ignore[misc]
        patterns=read_patterns(pattern or []),
        tokens=tokens,
        limits=Limits(samples, seconds, cell_seconds=time_limit, memory_gib=memory_limit),
        seed=seed,
        threads=thread_count(threads),
    )
    planned = plan(request, variants)
    context = start_fork_server()
    if not unchecked and (refused := refused_variants(planned.cells, variants, context)):
        raise CabError(" ".join(refused.values()))
    runner = Runner(
        context, variants, unchecked, lambda cell: output.say(f"Measuring {cell.point.title}")
    )
    answers: list[dict[str, object]] = []
    measured: list[BenchRow] = []
    for cell in planned.cells:
        searched = Search(runner, cell, candidate.label, tokens)
        for one in sorted(cell.baselines):
            for quantity in QUANTITIES:
                answers.append(searched.answer(one, quantity, shortest, end))
        measured.extend(searched.rows())
    if rows is not None:
        write_rows(measured, rows)
    if json:
        output.print_json({"mechanism": candidate.label, "crossovers": answers})
        return
    columns = ("pattern", "pass", "of", "against", "cheaper from", "efficiency length (CAB paper)")
    table = [
        (
            *(str(a[key]) for key in ("pattern", "pass", "quantity", "baseline", "words")),
            _fitted(a["fitted"]),
        )
        for a in answers
    ]
    output.print_table(f"Crossover lengths of {candidate.label}", columns, table)


class Search:
    """The measurements of one pattern and pass; each length is measured only once."""

    def __init__(self, runner: "Runner", cell: "Cell", candidate: str, tokens: int) -> None:
        self._runner, self._cell, self._candidate = runner, cell, candidate
        self._tokens, self._measured = tokens, dict[int, list["BenchRow"]]()

    def rows(self) -> Sequence["BenchRow"]:
        """Return all measured rows, by length."""
        return [row for length in sorted(self._measured) for row in self._measured[length]]

    def answer(
        self, baseline: str, quantity: str, shortest: int, longest: int
    ) -> dict[str, object]:
        """Find the crossover length of one quantity against one baseline."""
        from cab.measure.crossover import find_crossover

        measure: Callable[[int], Ratio] = lambda n: self._ratio(n, baseline, quantity)  # noqa: E731
        found = find_crossover(measure, shortest, longest)
        point = self._cell.point
        return {
            "pattern": str(point.pattern),
            "pass": point.passage,
            "quantity": quantity,
            "baseline": baseline,
            "verdict": found.verdict,
            "words": found.words(),
            "length": found.length,
            "low": found.low,
            "high": found.high,
            "ratios": {n: found.ratios[n] for n in sorted(found.ratios)},
            "fitted": self._fit(baseline, quantity, found),
        }

    def _at(self, length: int) -> dict[str, "BenchRow"]:
        from dataclasses import replace

        if length not in self._measured:
            point = self._cell.point
            batch = max(1, self._tokens // length) if self._tokens else point.batch
            cell = replace(self._cell, point=replace(point, length=length, batch=batch))
            self._measured[length] = self._runner.run_cell(cell)
        return {row.subject: row for row in self._measured[length]}

    def _ratio(self, length: int, baseline: str, quantity: str) -> "Ratio":
        from cab.measure.statistics import Ratio

        rows = self._at(length)
        own, other = rows[self._candidate], rows[baseline]
        if own.status != "ok":
            raise CabError(
                f"{own.subject} failed at {length:,} tokens ({own.status}): {own.message}"
            )
        if other.status in ("oom", "timeout"):
            return Ratio(1e-9, 1e-9, 1e-9)  # the baseline cannot run at all
        if other.status != "ok":
            raise CabError(
                f"{baseline} failed at {length:,} tokens ({other.status}): {other.message}"
            )
        against = own.against[baseline]
        if quantity == "time":
            return Ratio(against.time, against.low, against.high)
        ratio = against.memory or 1.0
        return Ratio(ratio, ratio, ratio)

    def _fit(self, baseline: str, quantity: str, found: "Crossover") -> float | None:
        """Return the efficiency length of the CAB paper; None for fewer than three lengths."""
        from cab.scores.efficiency import fitted_efficiency_length

        costs: dict[str, dict[int, float]] = {self._candidate: {}, baseline: {}}
        for length in found.ratios:
            for name, curve in costs.items():
                row = self._at(length)[name]
                if row.timing is not None and row.memory is not None:
                    time = quantity == "time"
                    curve[length] = row.timing.median if time else float(row.memory.peak)
        if min(map(len, costs.values())) < 3:
            return None
        return fitted_efficiency_length(costs[baseline], costs[self._candidate]).length


def _fitted(length: object) -> str:
    return f"{length:,.0f}" if isinstance(length, float) else "-"
