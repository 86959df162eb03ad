"""The table of `cab bench`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cab.commands.common import output

if TYPE_CHECKING:
    from cab.measure.record import BenchRow


def place(row: "BenchRow") -> tuple[str, str, int, str, str]:
    """Return the sort key of rows in a table and in a file."""
    return row.pattern, row.passage, row.length, row.role, row.subject


def print_rows(rows: Sequence["BenchRow"]) -> None:
    """Print one table, and below it the noise floor, the timer and the machine's rates."""
    baselines = list(dict.fromkeys(name for row in rows for name in row.against))
    columns = (
        *("mechanism", "pattern", "pass", "length", "batch", "ms (95 %)", "p20 - p80"),
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
    disturbed = sum(row.disturbed for row in timed)
    output.out.print(
        f"x: time divided by the baseline's (below 1: faster). Noise floor (A/A): median "
        f"{floor[len(floor) // 2]:.3f}, maximum {floor[-1]:.3f}. Timer "
        f"{first.timing.timer}, {first.environment.threads} threads, {first.dtype}; "
        f"{first.ceilings.flops / 1e9:,.0f} GFLOP/s in matrix products, "
        f"{max(first.ceilings.bytes.values()) / 1e9:,.0f} GB/s in copies."
        + (f" Highest load average: {max(loads):.1f}." if loads else "")
        + (
            f" {disturbed} rows are disturbed: other processes used the cores."
            if disturbed
            else ""
        ),
        markup=False,
    )


def _cells(row: "BenchRow", baselines: Sequence[str]) -> tuple[str, ...]:
    start = (row.subject, row.pattern, row.passage, f"{row.length:,}", str(row.batch))
    timing, memory, work = row.timing, row.memory, row.work
    if timing is None:
        return (*start, *("",) * (4 + len(baselines) + 4), row.status)
    ratios = (row.against.get(name) for name in baselines)
    notes: list[str] = [row.status] if row.status != "ok" else []
    notes += ["disturbed"] if row.disturbed else []
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
