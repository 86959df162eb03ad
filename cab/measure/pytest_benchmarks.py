"""Rows from pytest-benchmark results, such as the suites in `tests/benchmarks`."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cab.errors import CabError
from cab.measure.cell import row_key
from cab.measure.points import Cell, Limits, MechanismName, Point
from cab.measure.record import BenchRow, Timing
from cab.measure.statistics import noise_floor, summarise
from cab.taxonomy import Pattern


def extra_info(name: MechanismName, point: Point, timer: str) -> dict[str, Any]:
    """Return the `extra_info` that a benchmark must store so that a row can be made of it."""
    return {
        "mechanism": {"name": name.name, "operator": name.operator, "options": dict(name.options)},
        "point": {**vars(point), "pattern": str(point.pattern)},
        "timer": timer,
    }


def rows_of(document: Mapping[str, Any], threads: int) -> list[BenchRow]:
    """Turn the document of `--benchmark-json` into rows, without memory and work.

    Raises:
        CabError: a benchmark has no `extra_info` of this module, or no samples.
    """
    return [_row(one, threads) for one in _benchmarks(document)]


def _benchmarks(document: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for one in document.get("benchmarks", ()):
        if "point" not in one.get("extra_info", {}) or not one.get("stats", {}).get("data"):
            raise CabError(
                f"The benchmark {one.get('fullname', '?')} has no `extra_info` of CAB or no "
                f"samples; save samples with --benchmark-save-data."
            )
        yield one


def _row(one: Mapping[str, Any], threads: int) -> BenchRow:
    info = one["extra_info"]
    point = Point(**{**info["point"], "pattern": Pattern(info["point"]["pattern"])})
    name = MechanismName(**info["mechanism"])
    samples = [float(x) for x in one["stats"]["data"]]
    label = frozenset([name.label])
    cell = Cell(point, (name,), label, frozenset(), Limits(), 0, threads)
    summary = summarise(samples)
    timing = Timing(
        timer=f"pytest-benchmark, {info['timer']}",
        samples=tuple(samples),
        host_samples=tuple(samples),
        warm_samples=(),
        median=summary.median,
        low=summary.low,
        high=summary.high,
        p20=summary.p20,
        p80=summary.p80,
        warm_median=None,
        tokens_per_second=point.tokens / summary.median,
        prepare_seconds=0.0,
        launch_bound=False,
        noise_floor=noise_floor(samples),
    )
    fields = {**row_key(cell, name), "measured": datetime.now(UTC)}
    return BenchRow(**fields, status="ok", timing=timing)
