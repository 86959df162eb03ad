"""`cab bench`: time, memory and operations of variants and operators against length."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands import output
from cab.commands.measuring import (
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
    read_lengths,
    read_list,
    read_subject,
    refused_variants,
    standard_baselines,
    thread_count,
)
from cab.commands.options import Device, Include, Patterns, choose_device, read_patterns
from cab.errors import CabError, Interrupted
from cab.registry import discover_variants
from cab.settings import split_assignments
from cab.taxonomy import Pattern

if TYPE_CHECKING:
    from cab.measure.points import Cell
    from cab.measure.record import BenchRow

LENGTHS = {"cpu": range(8, 14), "cuda": range(8, 17)}
"""Powers of two: 256 to 8,192 tokens on a CPU, to 65,536 on CUDA."""
PASSES = "fwd_no_grad,fwd_bwd"


def bench(
    variant: Annotated[
        list[str] | None, typer.Option(help="A variant to measure. Repeatable.")
    ] = None,
    op: Annotated[list[str] | None, typer.Option(help="An operator. Repeatable.")] = None,
    provider: Annotated[
        list[str] | None, typer.Option(help="Only this provider of the operators. Repeatable.")
    ] = None,
    pattern: Patterns = None,
    pass_: Annotated[
        str,
        typer.Option("--pass", help="Of fwd_no_grad, fwd, bwd, fwd_bwd, prefill, decode (a,b)."),
    ] = PASSES,
    lengths: Annotated[
        str, typer.Option(help="Tokens (a,b). Default: powers of two from 256 on.")
    ] = "",
    dtype: Dtype = "float32",
    heads: Heads = 4,
    head_dim: HeadDim = 64,
    batch: Batch = 1,
    tokens: Tokens = 0,
    keys: Annotated[int, typer.Option(min=0, help="Keys, if not as many as queries.")] = 0,
    key_heads: Annotated[int, typer.Option(min=0, help="Key heads of an operator.")] = 0,
    value_dim: Annotated[int, typer.Option(min=0, help="Width of an operator's values.")] = 0,
    window: Window = 0,
    alignment: Annotated[
        str, typer.Option(help="Of causal rectangles: top_left or bottom_right.")
    ] = "bottom_right",
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare with (a,b): variants, or OP:PROVIDER. Default: softmax."),
    ] = None,
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
    json: Annotated[
        Path | None, typer.Option("--json", help="Write every row to this file (.json, .jsonl).")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write plots (SVG) to this folder.")] = None,
) -> None:
    """Measure variants, or an operator's providers, beside baselines, over lengths.

    Each point of the grid is a process of its own, in random order; its subjects are sampled in
    turn (A B B A) with flushed caches. What is wrong is refused, before or after timing, and what
    is faster than the machine can be is impossible: both end with exit 1.
    """
    from cab.fork_server import start_fork_server
    from cab.measure.operators import get_operator
    from cab.measure.plots import plot as draw
    from cab.measure.points import PASSES as KNOWN
    from cab.measure.points import Limits, Point
    from cab.measure.protocol import Request, Runner, plan
    from cab.measure.record import FAILURES, write_rows

    if bool(variant) == bool(op):
        raise CabError("Name what to measure: --variant NAME, or --op NAME (not both).")
    if provider and not op:
        raise CabError("--provider goes with --op.")
    files = tuple(path.resolve() for path in include or ())
    variants = discover_variants(files)
    for problem in variants.problems:
        output.warn(problem)
    options = split_assignments(set_ or [])
    if options and not variant:
        raise CabError("--set goes with --variant; operators take --window and the like.")
    names = list(variant or ())
    for one in op or ():
        names += [f"{one}:{p}" for p in provider or get_operator(one).providers]
    beside = standard_baselines(variants) if variant else []
    if baseline is not None:
        beside = [] if baseline == "none" else read_list(baseline, "--baseline")
    chosen = choose_device(device)
    request = Request(
        candidates=[read_subject(one, variants, options, files) for one in dict.fromkeys(names)],
        baselines=[read_subject(one, variants, {}, files) for one in dict.fromkeys(beside)],
        template=Point(
            Pattern.CS,
            "fwd_no_grad",
            length=1,
            batch=batch,
            heads=heads,
            head_width=head_dim,
            dtype=read_choice(dtype, ("float64", "float32", "bfloat16", "float16"), "dtype"),  # type: ignore[arg-type]
            device=chosen,
            keys=keys,
            key_heads=key_heads,
            value_width=value_dim,
            window=window,
            alignment=read_choice(alignment, ("top_left", "bottom_right"), "alignment"),  # type: ignore[arg-type]
        ),
        lengths=read_lengths(lengths) if lengths else [2**n for n in LENGTHS[chosen]],
        passes=[read_choice(one, KNOWN, "pass") for one in read_list(pass_, "--pass")],  # type: ignore[misc]
        patterns=read_patterns(pattern or []),
        tokens=tokens,
        limits=Limits(samples, seconds, cell_seconds=time_limit, memory_gib=memory_limit),
        seed=seed,
        threads=thread_count(threads),
    )
    planned = plan(request, variants)
    for sentence in planned.left_out:
        output.warn(sentence)
    context = start_fork_server([])
    refused = {} if unchecked else refused_variants(planned.cells, variants, context)
    cells = [cell for one in planned.cells if (cell := _without(one, refused)) is not None]
    progress = _Progress(len(cells))
    runner = Runner(context, variants, unchecked, progress.started, progress.finished)
    try:
        runner.run(cells, seed)
    except Interrupted:
        if json is None or not progress.rows:
            raise
        write_rows(sorted(progress.rows, key=_place), json)
        raise Interrupted(f"What was measured until then is in {json}.") from None
    rows = sorted(progress.rows, key=_place)
    if json is not None:
        write_rows(rows, json)
    if plot is not None:
        for path in draw(rows, plot):
            output.say(f"Plot: {path}")
    print_rows(rows)
    if refused or any(row.status in FAILURES for row in rows):
        raise typer.Exit(1)


def _without(cell: "Cell", refused: dict[tuple[str, str], str]) -> "Cell | None":
    """Leave the refused subjects out of a cell; None if no candidate is left."""
    kept = tuple(s for s in cell.subjects if (s.label, cell.point.pattern) not in refused)
    if not any(one.label in cell.candidates for one in kept):
        return None
    return replace(cell, subjects=kept)


class _Progress:
    """A line on stderr per cell, and the rows of the cells that are done."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self.rows: list[BenchRow] = []

    def started(self, cell: "Cell") -> None:
        """A cell's process is about to start."""
        output.say(f"[{self._done + 1}/{self._total}] {cell.point.title}")

    def finished(self, cell: "Cell", rows: Sequence["BenchRow"]) -> None:
        """A cell has given its rows."""
        self._done += 1
        self.rows.extend(rows)
        for row in rows:
            if row.status != "ok":
                output.warn(f"{row.subject}, {cell.point.title}: {row.status}. {row.message}")


def _place(row: "BenchRow") -> tuple[str, str, int, str, str]:
    return row.pattern, row.passage, row.length, row.role, row.subject


def print_rows(rows: Sequence["BenchRow"]) -> None:
    """Print one table, and below it what the numbers stand on."""
    baselines = list(dict.fromkeys(name for row in rows for name in row.against))
    columns = (
        *("subject", "pattern", "pass", "length", "batch", "ms (95 %)", "p20 - p80"),
        *("warm ms", "tokens/s", *(f"x {name}" for name in baselines)),
        *("workspace MiB", "saved MiB", "peak MiB", "ceiling", ""),
    )
    output.print_table("Measurements", columns, [_cells(row, baselines) for row in rows])
    timed = [row for row in rows if row.timing is not None]
    if not timed:
        return
    floor = sorted(row.timing.noise_floor for row in timed if row.timing is not None)
    first = timed[0]
    assert first.timing is not None
    assert first.ceilings is not None
    loads = [row.load for row in timed if row.load is not None]
    output.out.print(
        f"x: time over the baseline's, below 1 is faster. Noise floor (A/A): "
        f"{floor[len(floor) // 2]:.3f} in the median, {floor[-1]:.3f} at most. Timer "
        f"{first.timing.timer}, {first.environment.threads} threads, {first.dtype}; "
        f"{first.ceilings.flops / 1e9:,.0f} GFLOP/s in products, "
        f"{max(first.ceilings.bytes.values()) / 1e9:,.0f} GB/s in copies."
        + (f" Load of the machine up to {max(loads):.1f}." if loads else ""),
        markup=False,
    )


def _cells(row: "BenchRow", baselines: Sequence[str]) -> tuple[str, ...]:
    start = (row.subject, row.pattern, row.passage, f"{row.length:,}", str(row.batch))
    timing, memory, work = row.timing, row.memory, row.work
    if timing is None:
        return (*start, *("",) * (4 + len(baselines) + 4), row.status)
    ratios = (row.against.get(name) for name in baselines)
    notes: list[str] = [row.status] if row.status != "ok" else []
    notes += ["launch-bound"] if timing.launch_bound else []
    notes += ["unchecked"] if row.unchecked else []
    return (
        *start,
        f"{timing.median * 1e3:.3g} ({timing.low * 1e3:.3g}, {timing.high * 1e3:.3g})",
        f"{timing.p20 * 1e3:.3g} - {timing.p80 * 1e3:.3g}",
        "-" if timing.warm_median is None else f"{timing.warm_median * 1e3:.3g}",
        f"{timing.tokens_per_second:,.0f}",
        *("-" if r is None else f"{r.time:.3g} ({r.low:.3g}, {r.high:.3g})" for r in ratios),
        "" if memory is None else _mib(memory.workspace),
        "" if memory is None or memory.saved is None else _mib(memory.saved),
        "" if memory is None else _mib(memory.peak),
        "" if work is None or work.share is None else f"{work.share:.0%}",
        ", ".join(notes),
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:.2f}"
