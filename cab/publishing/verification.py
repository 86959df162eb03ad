"""Running published cells again, to see whether they give what was published."""

import math
import statistics
from collections.abc import Sequence

from cab.errors import CabError
from cab.records.results import Verification
from cab.records.store import Record
from cab.scores.drawn import Z95, Interval, keyed_generator
from cab.scores.ranges import metric_range
from cab.scores.summary import entry_label, student_t95


def sample(records: Sequence[Record], count: int | None, draw: str) -> list[Record]:
    """Choose records that ended well: all, or so many, each task once before any twice.

    Args:
        records: the records of one file, in any order.
        count: how many records to choose; all of them if None.
        draw: seeds the choice, together with the keys. An author who knew it while writing the
            records would know which of them are never rerun, so it is drawn afterwards.
    """
    done = sorted((one for one in records if one.status == "ok"), key=lambda one: one.key)
    if count is None or count >= len(done):
        return done
    order = keyed_generator("verify", draw, *(one.key for one in done)).permutation(len(done))
    mixed = [done[place] for place in order]
    turn: dict[str, int] = {}
    placed = []
    for place, record in enumerate(mixed):
        turn[record.task.name] = turn.get(record.task.name, 0) + 1
        placed.append((turn[record.task.name], place, record))
    return [record for _, _, record in sorted(placed, key=lambda one: one[:2])[:count]]


def expected(record: Record, published: Sequence[Record]) -> Interval:
    """Where a re-run of a record should lie: a 95 % interval for one new value.

    With several published seeds of the entry on the task it is Student's prediction interval
    around their mean, mean ± t s sqrt(1 + 1/n); with one, its value ± 1.96 sqrt(2) standard errors
    over the test examples, as for two samples of them. It is never narrower than the latter:
    other hardware rounds otherwise, and training carries that on like another seed. It ends where
    the metric does.
    """
    metric = record.task.metric
    own = record.metrics.test[metric]
    floor = Z95 * math.sqrt(2) * own.standard_error
    values = [
        one.metrics.test[metric].value
        for one in published
        if one.status == "ok"
        and entry_label(one) == entry_label(record)
        and all(
            getattr(one.task, name) == getattr(record.task, name)
            for name in ("name", "version", "source_hash")
        )
    ]
    n, reach = len(values), metric_range(metric)
    if n < 2:
        return Interval(own.value - floor, own.value + floor).cut(reach, own.value)
    mean = statistics.fmean(values)
    half = student_t95(n - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    half = max(half, floor)
    return Interval(mean - half, mean + half).cut(reach, mean)


def verdict(record: Record, published: Sequence[Record], again: Record) -> Verification:
    """Compare a published record with its re-run.

    Raises:
        CabError: the re-run did not end well, so there is nothing to compare.
    """
    if again.status != "ok":
        raise CabError(
            f"{record.key} ({entry_label(record)} on {record.task.name}, seed {record.seed}) "
            f"ended as {again.status} here: {again.message}"
        )
    metric = record.task.metric
    interval = expected(record, published)
    return Verification(
        key=record.key,
        task=record.task.name,
        seed=record.seed,
        published=record.metrics.test[metric].value,
        value=again.metrics.test[metric].value,
        low=interval.low,
        high=interval.high,
        environment=again.environment,
        git_revision=again.provenance.git_revision,
    )
