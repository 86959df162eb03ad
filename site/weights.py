"""What was measured of trained weights besides their task: other harnesses, loss by position."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cab.records.evaluations import measurements, told
from cab.records.rates import at_best_rate, recipe_at_any_rate
from cab.records.store import AtLength, Evaluation, Record
from cab.scores.estimates import Estimated, mean_over_seeds
from cab.scores.ranges import metric_range
from cab.scores.summary import entry_label
from cab.site import plots
from cab.site.content import Content, ProfileContent, by_entry


@dataclass(frozen=True)
class Evaluated:
    """A metric of `harness` on `task`, of weights that were trained on `trained`.

    settings holds what the harness was told; values holds the seeds' means; margin is the half
    width of 95 % over the examples of a single seed, where the harness gives an error.
    """

    entry: str
    trained: str
    harness: str
    task: str
    metric: str
    settings: str
    arrow: str
    mean: Estimated
    margin: float | None
    values: tuple[float, ...]
    n: int


def evaluated(records: Sequence[Record]) -> list[Evaluated]:
    """What other harnesses measured, over the seeds of equal settings.

    The seeds are those at the rate that counts, of one recipe of a task in one version.
    """
    entries: dict[tuple[str, str, int, str, str], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        task, recipe = record.task, json.dumps(recipe_at_any_rate(record), sort_keys=True)
        form = task.version, task.source_hash or "", recipe
        entries.setdefault((entry_label(record), task.name, *form), []).append(record)
    found = [
        _evaluated(entry, trained, group)
        for (entry, trained, *_), own in sorted(entries.items())
        for group in measurements(at_best_rate(own))
    ]
    return sorted(found, key=lambda one: (one.harness, one.task, one.metric))


def _evaluated(entry: str, trained: str, group: Sequence[tuple[Record, Evaluation]]) -> Evaluated:
    ones = [one for _, one in group]
    first = ones[0]
    harness = f"{first.harness} {first.harness_version}"
    task = f"{first.task} {first.task_version}".strip()
    settings = told(first)
    values = tuple(one.value for one in ones)
    name = " ".join((harness, task, first.metric, entry, trained, settings))
    alone = first.standard_error if len(ones) == 1 else None
    return Evaluated(
        entry,
        trained,
        harness,
        task,
        first.metric,
        settings,
        first.arrow,
        mean_over_seeds(trained, name, values, metric_range(first.metric)),
        None if alone is None else 1.96 * alone,
        values,
        min(one.n for one in ones),
    )


def along_the_sequence(content: Content, one: ProfileContent, name: str) -> list[dict[str, Any]]:
    """Per entry of a variant and task the loss by position, beside the reference's.

    It is of the longest test with positions, a mean over the seeds that have one; there is none of
    seeds whose positions differ.
    """
    records = [*one.records_of(name)]
    if name != content.reference:
        records += one.records_of(content.reference)
    lines = {
        (entry, task): line
        for entry, task, own in by_entry(r for r in records if r.key in one.on_board)
        if (line := _mean_line(own))
    }
    entries = {row.entry for row in one.rows_of(name)}
    shown = []
    for number, (entry, task) in enumerate(key for key in sorted(lines) if key[0] in entries):
        factor, nats = lines[entry, task]
        series = {entry: nats}
        beside = lines.get((content.reference, task))
        if beside is not None and beside[0] == factor:
            series[content.reference] = beside[1]
        title = f"{entry} on {task}: loss by position at {factor:g} times the training length"
        words = (title, "The values are in the records.")
        labels = ("position, tokens", "loss, nats per predicted token")
        trained = max(nats) / factor
        families = dict.fromkeys(series, content.family(content.reference))
        families[entry] = content.family(name)
        drawing = plots.lines(
            f"along-{number}", series, families, labels, words, marked=(trained,), linear=True
        )
        shown.append({"task": task, "title": title, "drawing": Markup(drawing)})
    return shown


def _mean_line(records: Sequence[Record]) -> tuple[float, Mapping[float, float]] | None:
    """The longest factor that has positions, and the seeds' mean loss by last position."""
    longest = [_longest(record) for record in records]
    factor = max((point.factor for point in longest if point is not None), default=None)
    if factor is None:
        return None
    seeds = [point.positions for point in longest if point is not None and point.factor == factor]
    places = set.intersection(*({part.last for part in parts} for parts in seeds))
    nats = {
        float(place + 1): math.fsum(
            part.nats for parts in seeds for part in parts if part.last == place
        )
        / len(seeds)
        for place in sorted(places)
    }
    return (factor, nats) if nats else None


def _longest(record: Record) -> AtLength | None:
    points = [point for point in record.metrics.lengths if point.positions]
    return max(points, key=lambda point: point.factor, default=None)
