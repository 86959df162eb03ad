"""The scores of entries on tasks, seed by seed, and where their variance comes from."""

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cab.records.rates import at_an_end, at_best_rate, rates_of
from cab.records.store import Record
from cab.scores.normalise import Scale
from cab.scores.summary import entry_label

STEPS = "train.steps"


@dataclass(frozen=True)
class Score:
    """An entry on a task: the score of each seed at its rate, and where this rate stands.

    at_end: the chosen learning rate is the lowest or the highest of those tried; None if there is
    no choice. levels: the metric at each level, averaged over seeds.
    """

    entry: str
    task: str
    seeds: tuple[float, ...]
    at_end: bool | None
    levels: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.seeds)


@dataclass(frozen=True)
class Components:
    """Variance of the scores in a pattern by what it comes from, and the reliability of the mean.

    A two-way random model of entries and tasks; interaction is what is left of an entry's score
    on a task, without the scatter over seeds.

    Args:
        reliability: the share of the variance of entries' means over these tasks that comes from
            the entries; 1 - MS(entry x task) / MS(entry).
    """

    entries: int
    tasks: int
    entry: float
    task: float
    interaction: float
    seed: float
    reliability: float


def scores_of(
    records: Iterable[Record], scales: Mapping[str, Scale], longer: bool = False
) -> tuple[Score, ...]:
    """Put the records of each entry on each scored task on its scale.

    Args:
        longer: take those that were trained for four times the steps instead.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        changed = dict(record.settings.changed)
        steps = changed.pop(STEPS, None)
        if record.task.name not in scales or changed or (steps is not None) != longer:
            continue
        plain = record.model_copy(
            update={"settings": record.settings.model_copy(update={"changed": {}})}
        )
        groups.setdefault((entry_label(plain), record.task.name), []).append(record)
    found = []
    for (entry, task), own in sorted(groups.items()):
        chosen = [one for one in at_best_rate(own) if one.status == "ok"]
        if not chosen:
            continue
        metric = chosen[0].task.metric
        ladders = [[at.test.value for at in one.metrics.levels] for one in chosen]
        found.append(
            Score(
                entry,
                task,
                tuple(scales[task].score(one.metrics.test[metric].value) for one in chosen),
                at_an_end(own) if len(rates_of(chosen[0])) > 1 else None,
                tuple(statistics.fmean(level) for level in zip(*ladders, strict=True)),
            )
        )
    return tuple(found)


def variance_components(scores: Sequence[Score]) -> Components | None:
    """Part the variance of scores, of the entries that have all the tasks.

    Returns:
        None with fewer than two such entries or two tasks.
    """
    by_entry: dict[str, dict[str, Score]] = {}
    for one in scores:
        by_entry.setdefault(one.entry, {})[one.task] = one
    tasks = sorted({one.task for one in scores})
    rows = [own for own in by_entry.values() if set(own) == set(tasks)]
    v, t = len(rows), len(tasks)
    if v < 2 or t < 2:
        return None
    table = [[own[task].mean for task in tasks] for own in rows]
    grand = statistics.fmean(itertools.chain(*table))
    of_entry = [statistics.fmean(row) for row in table]
    of_task = [statistics.fmean(column) for column in zip(*table, strict=True)]
    ms_entry = t * sum((mean - grand) ** 2 for mean in of_entry) / (v - 1)
    ms_task = v * sum((mean - grand) ** 2 for mean in of_task) / (t - 1)
    rest = sum(
        (table[i][j] - of_entry[i] - of_task[j] + grand) ** 2 for i in range(v) for j in range(t)
    )
    ms_rest = rest / ((v - 1) * (t - 1))
    cells = [own[task] for own in rows for task in tasks]
    scattered = [one for one in cells if len(one.seeds) > 1]
    seed = statistics.fmean([statistics.variance(one.seeds) for one in scattered] or [0.0])
    count = statistics.harmonic_mean([len(one.seeds) for one in cells])
    return Components(
        entries=v,
        tasks=t,
        entry=max(0.0, (ms_entry - ms_rest) / t),
        task=max(0.0, (ms_task - ms_rest) / v),
        interaction=max(0.0, ms_rest - seed / count),
        seed=seed,
        reliability=1 - ms_rest / ms_entry if ms_entry else 0.0,
    )
