"""Pages about cost: Pareto fronts. Hardware is never mixed in a column."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from cab.records.store import Record
from cab.scores.table import host_class
from cab.site import plots
from cab.site.content import Content, ProfileContent
from cab.site.formulas import decode_state

STATE_LENGTH = 1024

FLOPS = "floating-point operations of training, relative to softmax"
MEMORY = "peak memory of the process, relative to softmax on the same hardware"
"""Training times are not drawn: cells share machines. `cab bench` measures times."""


def of_records(records: list[Record]) -> list[dict[str, Any]]:
    """Mean memory, operations and parameters per hardware and task, of cells that ended well."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status == "ok":
            key = (host_class(record.environment), record.task.name)
            found.setdefault(key, []).append(record)
    return [
        {
            "host": host,
            "task": task,
            "peak_bytes": _mean([one.cost.peak_bytes for one in own]),
            "flops": _mean([one.cost.flops for one in own]),
            "parameters": _mean([one.variant.parameters for one in own]),
        }
        for (host, task), own in sorted(found.items())
    ]


def _mean(values: list[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return statistics.fmean(known) if known else None


def ratios(cells: pd.DataFrame, column: str, reference: str) -> dict[str, float]:
    """Each entry's cost over the reference's: a geometric mean over its tasks among `cells`.

    An entry is left out unless the reference ran every one of these tasks.
    """
    own = cells[(cells["status"] == "ok") & (cells[column] > 0)]
    means = own.groupby(["entry", "task"])[column].mean()
    if means.empty or reference not in means.index.get_level_values("entry"):
        return {}
    base = means.loc[reference]
    found = {}
    for entry in sorted(set(means.index.get_level_values("entry"))):
        costs = means.loc[entry]
        if set(costs.index) <= set(base.index):
            logs = [math.log(costs[task] / base[task]) for task in sorted(costs.index)]
            found[str(entry)] = math.exp(math.fsum(logs) / len(logs))
    return found


def pareto(content: Content, one: ProfileContent) -> dict[str, Any]:
    """Score against operations, against memory per hardware, and against the decode state."""
    costs = ratios(one.counting, "flops", content.reference)
    figures = [_figure(content, one, "flops", FLOPS, "", costs)]
    for host, cells in one.counting.groupby("host", sort=True):
        costs = ratios(cells, "peak_bytes", content.reference)
        name = f"peak_bytes-{len(figures)}"
        figures.append(_figure(content, one, name, MEMORY, str(host), costs))
    states = {}
    for row in one.board.rows:
        card = content.variants.get(row.variant)
        record = next((r for r in one.records_of(row.variant)), None)
        if card is not None and record is not None:
            state = decode_state(card, record.variant.config, STATE_LENGTH)
            if state is not None and state > 0:
                states[row.entry] = 4 * state
    label = f"bytes of decode state per head after {STATE_LENGTH:,} tokens, float32"
    figures.append(_figure(content, one, "state", label, "", states))
    return {"figures": [figure for figure in figures if figure["points"]]}


def _figure(
    content: Content,
    one: ProfileContent,
    name: str,
    label: str,
    host: str,
    costs: Mapping[str, float],
) -> dict[str, Any]:
    rows = [row for row in one.board.rows if row.entry in costs and row.score is not None]
    # The front compares rows with equal coverage: the widest that is drawn.
    widest = max((row.coverage.tasks for row in rows), key=len, default=())
    alike = [row for row in rows if row.coverage.tasks == widest]
    best = plots.front([(r.entry, costs[r.entry], r.score.point) for r in alike if r.score])
    points = [
        plots.Point(
            row.entry,
            content.family(row.variant),
            costs[row.entry],
            row.score.point,
            row.score.interval(),
            row.entry in best,
        )
        for row in rows
        if row.score is not None
    ]
    words = (f"CAB score against {label}", "Each value is in the table below the figure.")
    line = one.board.reference
    height = line.score.point if line is not None and line.score is not None else None
    drawing = plots.scatter(name, points, label, height, words) if points else ""
    return {
        "name": name,
        "label": label,
        "host": host,
        "points": sorted(points, key=lambda point: (point.x, point.entry)),
        "coverage": {row.entry: str(row.coverage) for row in rows},
        "drawing": Markup(drawing),
    }


def published(content: Content) -> dict[str, Any]:
    """A drawing of what CAB published on lengths beyond that of training."""
    for tables in content.published:
        for table in tables.tables:
            if table.over_lengths:
                series = {
                    entry: {
                        float(length): value
                        for length, value in zip(table.columns, row, strict=True)
                        if value is not None
                    }
                    for entry, row in table.values.items()
                }
                labels = ("length of the context, tokens", "perplexity")
                words = (table.title, "The values are in the table beside the figure.")
                # The paper's names: most are, but for their case, those of the variants here.
                families = {entry: content.family(entry.lower()) for entry in series}
                drawing = plots.lines("lengths", series, families, labels, words)
                return {"drawing": Markup(drawing)}
    return {"drawing": ""}
