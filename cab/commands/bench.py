"""`cab bench`: time, memory and operations of variants and operators by length."""

from pathlib import Path
from typing import Annotated

import typer

from cab.commands.common import output
from cab.commands.common.options import Device, Include, Patterns, choose_device, read_patterns
from cab.commands.measurements.bench_run import measure
from cab.commands.measurements.bench_table import print_rows
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
    read_lengths,
    read_list,
    read_mechanism,
    standard_baselines,
    thread_count,
)
from cab.errors import CabError
from cab.records.files import try_writing
from cab.registry import discover_variants
from cab.settings import split_assignments
from cab.taxonomy import Pattern

LENGTHS = {"cpu": range(8, 14), "cuda": range(8, 17)}
"""Powers of two: 256 to 8,192 tokens on a CPU, to 65,536 on CUDA."""
PASSES = "fwd_no_grad,fwd_bwd"


def bench(
    variant: Annotated[
        list[str] | None, typer.Option(help="A variant to measure, or all. Repeatable.")
    ] = None,
    op: Annotated[
        list[str] | None,
        typer.Option(help="An operator to measure, or OPERATOR:IMPLEMENTATION. Repeatable."),
    ] = None,
    implementation: Annotated[
        list[str] | None,
        typer.Option(help="Only this implementation of --op. Repeatable."),
    ] = None,
    pattern: Patterns = None,
    pass_: Annotated[
        str,
        typer.Option(
            "--pass", help="Passes, as a,b: fwd_no_grad, fwd, bwd, fwd_bwd, prefill, decode."
        ),
    ] = PASSES,
    lengths: Annotated[
        str, typer.Option(help="Lengths in tokens, as a,b. Default: powers of two from 256.")
    ] = "",
    dtype: Dtype = "float32",
    heads: Heads = 4,
    head_dim: HeadDim = 64,
    batch: Batch = 1,
    tokens: Tokens = 0,
    keys: Annotated[int, typer.Option(min=0, help="Number of keys; 0: as many as queries.")] = 0,
    key_heads: Annotated[
        int, typer.Option(min=0, help="Key heads of an operator; 0: as many as query heads.")
    ] = 0,
    value_dim: Annotated[
        int, typer.Option(min=0, help="Head width of an operator's values; 0: --head-dim.")
    ] = 0,
    window: Window = 0,
    alignment: Annotated[
        str,
        typer.Option(
            help="Causal mask with unequal numbers of queries and keys: top_left or bottom_right."
        ),
    ] = "bottom_right",
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Baselines, as a,b: variants, OPERATOR:IMPLEMENTATION or none. "
            "Default for variants: all implementations of softmax."
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
        Path | None, typer.Option("--json", help="Write all rows to this file (.json or .jsonl).")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Skip cells that the .jsonl file of --json already holds."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write plots (SVG) to this folder.")
    ] = None,
) -> None:
    """Measure time and memory of variants or operators.

    Each point of the grid runs in its own process, in random order. There the candidates and the
    baselines are sampled in turn (A B B A) with flushed caches. Exit 1 if an output is wrong, or a
    time is below the hardware's limit.

    `--variant all` measures every variant in separate cells, with the baselines in each. A file
    that ends in .jsonl is extended after every cell; `--resume` continues an interrupted run.
    """
    from cab.measure.operators import get_operator
    from cab.measure.plots import plot as draw
    from cab.measure.points import PASSES as KNOWN
    from cab.measure.points import Limits, Point
    from cab.measure.protocol import Request, plan, plan_apart
    from cab.measure.record import FAILURES

    if bool(variant) == bool(op):
        raise CabError("Give either --variant NAME or --op NAME, and not both.")
    if resume and (json is None or json.suffix != ".jsonl"):
        raise CabError("--resume needs the file to continue: add --json FILE.jsonl.")
    if implementation and not op:
        raise CabError("--implementation needs --op NAME.")
    if json is not None:
        try_writing(json, "The measurements", parents=json.suffix == ".jsonl")
    if plot is not None:
        try_writing(plot, "Plots", folder=True)
    files = tuple(include or ())
    variants = discover_variants(files)
    for problem in variants.problems:
        output.warn(problem)
    options = split_assignments(set_ or [])
    if options and not variant:
        raise CabError("--set needs --variant; for operators use options such as --window.")
    every = variant == ["all"]
    names = [card.name for card in variants.cards()] if every else list(variant or ())
    for one in op or ():
        every_one = implementation or ([] if ":" in one else get_operator(one).implementations)
        names += [f"{one}:{p}" for p in every_one] or [one]
    beside = standard_baselines(variants) if variant else []
    if baseline is not None:
        beside = [] if baseline == "none" else read_list(baseline, "--baseline")
    chosen = choose_device(device)
    request = Request(
        candidates=[read_mechanism(one, variants, options, files) for one in dict.fromkeys(names)],
        baselines=[read_mechanism(one, variants, {}, files) for one in dict.fromkeys(beside)],
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
    rows, refused = measure(planned, variants, seed, json, resume=resume, unchecked=unchecked)
    if plot is not None:
        for path in draw(rows, plot):
            output.say(f"Plot: {path}")
    print_rows(rows)
    if refused or any(row.status in FAILURES for row in rows):
        raise typer.Exit(1)
