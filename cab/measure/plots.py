"""Plots of measurements: time, memory and tokens per second against length, as SVG.

The same rows give the same file, byte for byte.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cab.analysis.figures import figure
from cab.measure.crossover import Quantity, read_crossover, side_by_side
from cab.measure.record import BenchRow

Value = Callable[[BenchRow], float | None]


def _milliseconds(row: BenchRow) -> float | None:
    return None if row.timing is None else row.timing.median * 1e3


def _mebibytes(row: BenchRow) -> float | None:
    return None if row.memory is None else row.memory.peak / 2**20


def _speed(row: BenchRow) -> float | None:
    return None if row.timing is None else row.timing.tokens_per_second


FIGURES: dict[str, tuple[str, Value]] = {
    "time": ("time of one call, ms", _milliseconds),
    "memory": ("peak memory, MiB", _mebibytes),
    "tokens": ("tokens per second", _speed),
}


def plot(rows: Iterable[BenchRow], folder: Path) -> list[Path]:
    """Write a figure per pattern, pass and quantity; return their paths.

    Raises:
        CabError: a file cannot be written.
    """
    groups: dict[tuple[str, str], list[BenchRow]] = defaultdict(list)
    for row in rows:
        if row.status == "ok":
            groups[row.pattern, row.passage].append(row)
    written = []
    for (pattern, passage), group in sorted(groups.items()):
        for name in FIGURES:
            path = folder / f"{name}-{pattern}-{passage}.svg"
            _draw(group, name, path)
            written.append(path)
    return written


def _draw(rows: Sequence[BenchRow], name: str, path: Path) -> None:
    label, value = FIGURES[name]
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        number = value(row)
        if number:
            curves[row.subject][row.length] = number
    with figure(path, size=(6.4, 4.2)) as grid:
        axes = grid[0, 0]
        for mechanism in sorted(curves):
            lengths = sorted(curves[mechanism])
            axes.plot(
                lengths, [curves[mechanism][n] for n in lengths], marker="o", label=mechanism
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("length, tokens")
        axes.set_ylabel(label)
        axes.set_title(f"{rows[0].pattern}, {rows[0].passage}, {rows[0].dtype}")
        axes.grid(visible=True, which="major", alpha=0.3)
        if name in ("time", "memory"):
            _mark_crossings(axes, rows, name)  # type: ignore[arg-type]
        axes.legend(fontsize="small")


def _mark_crossings(axes: Any, rows: Sequence[BenchRow], quantity: Quantity) -> None:
    """Draw a dashed line from which on a candidate costs less than a baseline."""
    candidates = sorted({row.subject for row in rows if row.role == "candidate"})
    baselines = sorted({name for row in rows for name in row.against})
    for candidate in candidates:
        for baseline in baselines:
            ratios = side_by_side(rows, candidate, baseline, quantity)
            found = read_crossover(ratios) if ratios else None
            if found is not None and found.verdict == "from":
                axes.axvline(found.length, linestyle="--", linewidth=0.8, color="0.4")
                axes.annotate(
                    f"{candidate} below {baseline} from {found.words()}",
                    (found.length, 0.02),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    fontsize="x-small",
                    ha="right",
                )
