"""The page of kernels: time and memory against length, each machine by itself."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from cab.measure.crossover import Crossover, Quantity, read_crossover, side_by_side
from cab.measure.record import BenchRow
from cab.measure.statistics import Ratio, summarise
from cab.scores.estimates import Estimated
from cab.scores.rows import BoardRow
from cab.scores.table import host_class
from cab.site import plots
from cab.taxonomy import Pattern

NAMED_LINES = 6
"""How many of the cheapest at the longest length a figure names, besides the baselines."""
PASSES: Mapping[str, str] = {
    "fwd_no_grad": "forward pass without gradients",
    "fwd": "forward pass",
    "bwd": "backward pass",
    "fwd_bwd": "forward and backward pass",
    "decode": "decoding",
}
"""The passes of `cab bench` in words; one that is not here has its own name."""
FAR_BELOW = 8.0
"""A mechanism that is so many times cheaper than every other would take most of a figure's height:
it does next to nothing."""


class Cost(NamedTuple):
    """A median with its 95 % interval; what is counted has no interval but itself."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class KernelTable:
    """One measure against length, for measurements that differ only in mechanism and length.

    variants gives the variant or the operator of each mechanism. baselines are what all were
    compared with, the reference first. crossings gives, for each mechanism and baseline, the
    length from which the mechanism costs less.
    """

    title: str
    pattern: Pattern
    measure: str
    variants: Mapping[str, str]
    series: Mapping[str, Mapping[int, Cost]]
    baselines: tuple[str, ...]
    crossings: Mapping[str, Mapping[str, Crossover]]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Machine:
    """The measurements of one machine."""

    host: str
    tables: tuple[KernelTable, ...]


def kernel_tables(kernels: Mapping[str, list[BenchRow]], reference: str) -> list[Machine]:
    """Time and memory against length, per file, which is per machine; the fullest comes first."""
    machines = []
    for host, rows in sorted(kernels.items(), key=lambda one: (-len(one[1]), one[0])):
        groups: dict[tuple[str, str, str], list[BenchRow]] = {}
        for row in rows:
            if row.timing and row.status == "ok" and not (row.unchecked or row.disturbed):
                size = f"window {row.window}" if row.window else f"batch {row.batch}"
                setting = f"{row.heads} heads of {row.head_width}, {size}, {row.dtype}"
                groups.setdefault((row.pattern, row.passage, setting), []).append(row)
        tables = [
            table
            for names, own in sorted(groups.items())
            for measure in ("milliseconds", "megabytes")
            if (table := _kernel_table(names, own, measure, reference)).series
        ]
        if tables:
            name = f"{host}: {host_class(rows[0].environment)}"
            machines.append(Machine(name, tuple(tables)))
    return machines


def _kernel_table(
    names: tuple[str, str, str], rows: Sequence[BenchRow], measure: str, reference: str
) -> KernelTable:
    quantity: Quantity = "time" if measure == "milliseconds" else "memory"
    found: dict[str, dict[int, list[Cost]]] = {}
    by_subject: dict[str, list[BenchRow]] = {}
    for row in rows:
        by_subject.setdefault(row.subject, []).append(row)
        if cost := _time(row) if quantity == "time" else _memory(row):
            found.setdefault(row.subject, {}).setdefault(row.length, []).append(cost)
    series = {
        subject: {length: _pooled(own[length]) for length in sorted(own)}
        for subject, own in sorted(found.items())
    }
    others = {row.subject for row in rows if row.role == "baseline"} - {reference}
    baselines = tuple(one for one in (reference, *sorted(others)) if one in series)
    crossings = {
        subject: {
            baseline: read_crossover(ratios)
            for baseline in baselines
            if (ratios := _ratios(by_subject, subject, baseline, baselines, quantity))
        }
        for subject in series
        if subject not in baselines
    }
    pattern, passage, setting = names
    return KernelTable(
        f"{pattern}, {PASSES.get(passage, passage)}: {measure}, {setting}",
        Pattern(pattern),
        measure,
        {row.subject: row.operator or row.name for row in rows},
        series,
        baselines,
        crossings,
        tuple(sorted({length for costs in series.values() for length in costs})),
    )


def _time(row: BenchRow) -> Cost | None:
    timing = row.timing
    return timing and Cost(1e3 * timing.median, 1e3 * timing.low, 1e3 * timing.high)


def _memory(row: BenchRow) -> Cost | None:
    peak = 0 if row.memory is None else row.memory.peak / 1e6
    return Cost(peak, peak, peak) if peak else None


def _pooled(costs: Sequence[Cost]) -> Cost:
    """A baseline runs in many cells: its median over them, with what they differ by."""
    if len(costs) == 1:
        return costs[0]
    summary = summarise([one.value for one in costs])
    return Cost(summary.median, summary.low, summary.high)


def _ratios(
    rows: Mapping[str, Sequence[BenchRow]],
    subject: str,
    baseline: str,
    baselines: Iterable[str],
    quantity: Quantity,
) -> Mapping[int, Ratio]:
    """The cost of a mechanism over that of a baseline, at each length.

    Where they were not measured side by side, both were beside a third: the ratio of both ratios
    leaves out what the machine did between the cells, as no ratio of two times would.
    """
    if direct := side_by_side(rows[subject], subject, baseline, quantity):
        return direct
    for third in baselines:
        ours = side_by_side(rows[subject], subject, third, quantity)
        theirs = side_by_side(rows[baseline], baseline, third, quantity)
        theirs = {length: ratio for length, ratio in theirs.items() if ratio.low > 0}
        if both := sorted(ours.keys() & theirs.keys()):
            return {length: _over(ours[length], theirs[length]) for length in both}
    return {}


def _over(one: Ratio, other: Ratio) -> Ratio:
    return Ratio(one.value / other.value, one.low / other.high, one.high / other.low)


def drawn(
    machines: Sequence[Machine], rows: Iterable[BoardRow], family: Callable[[str], str]
) -> list[dict[str, Any]]:
    """The tables with their drawings, and what the board's rows scored in their pattern.

    family gives a variant's family.
    """
    scores: dict[Pattern, dict[str, Estimated]] = {pattern: {} for pattern in Pattern}
    for row in rows:
        for pattern, score in row.patterns.items():
            scores[pattern][row.entry] = score
    return [
        {
            "host": machine.host,
            "figures": [
                (table, scores[table.pattern], _drawing(f"k{number}-{place}", table, family))
                for place, table in enumerate(machine.tables)
            ],
        }
        for number, machine in enumerate(machines)
    ]


def _drawing(name: str, table: KernelTable, family: Callable[[str], str]) -> Markup:
    series = {
        subject: {float(length): cost.value for length, cost in costs.items()}
        for subject, costs in table.series.items()
    }
    # The first line of a family is unbroken: a baseline's.
    series = {name: series[name] for name in (*table.baselines, *series)}
    below = _far_below(series)
    series = {subject: costs for subject, costs in series.items() if subject != below}
    ends = sorted(series, key=lambda s: (-max(series[s]), series[s][max(series[s])], s))
    named = {*table.baselines, *ends[:NAMED_LINES]}
    # The curves cross the first baseline's there; more lines would hide them.
    crossed = (table.crossings.get(subject, {}) for subject in named)
    firsts = (one[first] for first in table.baselines[:1] for one in crossed if first in one)
    marked = sorted({one.length for one in firsts if one.verdict == "from" and one.length})
    left_out = f" {below} is far cheaper than the others and is not drawn." if below else ""
    words = (table.title, "The values are in the table below the figure." + left_out)
    labels = ("length, tokens", table.measure)
    families = {subject: family(table.variants[subject]) for subject in series}
    return Markup(plots.lines(name, series, families, labels, words, named, marked))


def _far_below(series: Mapping[str, Mapping[float, float]]) -> str | None:
    """The mechanism that is far cheaper than all others at each of its lengths, if any."""
    if len(series) < 2:
        return None
    lowest = min(series, key=lambda subject: min(series[subject].values()))
    far = all(
        FAR_BELOW * cost < costs[length]
        for length, cost in series[lowest].items()
        for subject, costs in series.items()
        if subject != lowest and length in costs
    )
    return lowest if far else None


def efficiency_lengths(
    machines: Sequence[Machine], subject: str
) -> list[tuple[str, KernelTable, str, Crossover]]:
    """Each measurement of a variant beside a baseline, with its crossover length."""
    return [
        (machine.host, table, baseline, found)
        for machine in machines
        for table in machine.tables
        for baseline, found in table.crossings.get(subject, {}).items()
    ]
