"""`cab bench`: time, memory and operations of variants and operators against length."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands import output
from cab.commands.bench_table import place, print_rows
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
        list[str] | None, typer.Option(help="A variant to measure, or `all`. Repeatable.")
    ] = None,
    op: Annotated[
        list[str] | None, typer.Option(help="An operator, or OP:PROVIDER. Repeatable.")
    ] = None,
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
        typer.Option(
            help="Compare with (a,b): variants or OP:PROVIDER. Default: all forms of softmax."
        ),
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
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave out what the .jsonl file of --json holds already."),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write plots (SVG) to this folder.")] = None,
) -> None:
    """Measure variants, or an operator's providers, beside baselines, over lengths.

    Each point of the grid is a process of its own, in random order; its subjects are sampled in
    turn (A B B A) with flushed caches. What is wrong is refused, before or after timing, and what
    is faster than the machine can be is impossible: both end with exit 1.

    `--variant all` measures every variant in cells of its own, beside the baselines. A file that
    ends in .jsonl grows with every cell; `--resume` goes on where it was cut off.
    """
    from cab.files import alone
    from cab.fork_server import start_fork_server
    from cab.measure.operators import get_operator
    from cab.measure.plots import plot as draw
    from cab.measure.points import PASSES as KNOWN
    from cab.measure.points import Limits, Point
    from cab.measure.protocol import Request, Runner, plan, plan_apart, remaining
    from cab.measure.record import FAILURES, write_rows

    if bool(variant) == bool(op):
        raise CabError("Name what to measure: --variant NAME, or --op NAME (not both).")
    if resume and (json is None or json.suffix != ".jsonl"):
        raise CabError("--resume needs the file to go on with: --json FILE.jsonl.")
    if provider and not op:
        raise CabError("--provider goes with --op.")
    files = tuple(path.resolve() for path in include or ())
    variants = discover_variants(files)
    for problem in variants.problems:
        output.warn(problem)
    options = split_assignments(set_ or [])
    if options and not variant:
        raise CabError("--set goes with --variant; operators take --window and the like.")
    every = variant == ["all"]
    names = [card.name for card in variants.cards()] if every else list(variant or ())
    for one in op or ():
        every_one = provider or ([] if ":" in one else get_operator(one).providers)
        names += [f"{one}:{p}" for p in every_one] or [one]
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
    planned = plan_apart(request, variants) if every else plan(request, variants)
    for sentence in planned.left_out:
        output.warn(sentence)
    with alone(json, "cab bench") if json and json.suffix == ".jsonl" else nullcontext():
        context = start_fork_server([])
        refused = {} if unchecked else refused_variants(planned.cells, variants, context)
        cells = [cell for one in planned.cells if (cell := _without(one, refused)) is not None]
        before = _before(json) if resume and json is not None and json.exists() else []
        cells = remaining(cells, before)
        progress = _Progress(len(cells), before, json)
        runner = Runner(context, variants, unchecked, progress.started, progress.finished)
        try:
            runner.run(cells, seed)
        except Interrupted:
            if json is None or not progress.rows:
                raise
            write_rows(sorted(progress.rows, key=place), json)
            raise Interrupted(f"What was measured until then is in {json}.") from None
        rows = sorted(progress.rows, key=place)
        if json is not None:
            write_rows(rows, json)
    if plot is not None:
        for path in draw(rows, plot):
            output.say(f"Plot: {path}")
    print_rows(rows)
    if refused or any(row.status in FAILURES for row in rows):
        raise typer.Exit(1)


def _before(path: Path) -> "list[BenchRow]":
    """What was measured before a run was cut off, and while others left the cores alone."""
    from cab.measure.record import drop_cut_line, read_rows

    if drop_cut_line(path):
        output.warn(f"The last line of {path} was cut off; its cell is measured again.")
    rows = read_rows(path)
    kept = [row for row in rows if not row.disturbed]
    if len(kept) < len(rows):
        output.say(f"{len(rows) - len(kept)} rows of {path} are disturbed, and measured again.")
    return kept


def _without(cell: "Cell", refused: dict[tuple[str, Pattern], str]) -> "Cell | None":
    """Leave the refused subjects out of a cell; None if no candidate is left."""
    kept = tuple(s for s in cell.subjects if (s.label, cell.point.pattern) not in refused)
    if not any(one.label in cell.candidates for one in kept):
        return None
    return replace(cell, subjects=kept)


class _Progress:
    """A line on stderr per cell, and the rows of the cells that are done, kept as they come."""

    def __init__(self, total: int, before: Sequence["BenchRow"], path: Path | None) -> None:
        self._total, self._done = total, 0
        self._path = path if path is not None and path.suffix == ".jsonl" else None
        self.rows: list[BenchRow] = list(before)
        if self._path is not None and not before:
            self._path.unlink(missing_ok=True)

    def started(self, cell: "Cell") -> None:
        """A cell's process is about to start."""
        output.say(f"[{self._done + 1}/{self._total}] {cell.point.title}")

    def finished(self, cell: "Cell", rows: Sequence["BenchRow"]) -> None:
        """A cell has given its rows."""
        from cab.measure.record import append_rows

        self._done += 1
        self.rows.extend(rows)
        if self._path is not None:
            append_rows(rows, self._path)
        for row in rows:
            if row.status != "ok":
                output.warn(f"{row.subject}, {cell.point.title}: {row.status}. {row.message}")
