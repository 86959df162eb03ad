"""The learning rate of an entry on a task, which validation chooses among the task's rates.

All rates are tried with seed 0, and the other seeds run at the chosen one. Of the best result and
those within one standard error of it, the rate nearest to the middle is chosen: validation cannot
tell these apart, and the highest of them would often be another one on another machine. This is
the rule of one standard error for choosing among fits (Breiman, Friedman, Olshen, Stone, 1984,
"Classification and Regression Trees", section 3.4.3).

The choice depends on records alone, so that a resumed sweep, a sweep on many machines and a reader
of the published records all make the same one. It reads validation only: test results decide
nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from cab.records.copies import OfCell
from cab.records.store import Record

SEARCH_SEED = 0
"""The seed with which all rates are tried."""


def rate_of(record: OfCell) -> float:
    """The learning rate with which a cell was trained; 0 where its recipe gives none."""
    training = record.settings.recipe.get("train")
    rate = training.get("learning_rate") if isinstance(training, Mapping) else None
    return float(rate) if _is_number(rate) else 0.0


def rates_of(record: Record) -> tuple[float, ...]:
    """The rates of a cell's recipe, in increasing order; its own alone where there is no choice.

    A rate that was set by hand (`--set train.learning_rate`) is no choice either.
    """
    given = record.settings.recipe.get("rates", ())
    listed = given if isinstance(given, list | tuple) else ()
    rates = [float(one) for one in listed if _is_number(one)]
    return tuple(rates) if rate_of(record) in rates else (rate_of(record),)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def recipe_at_any_rate(record: Record) -> Mapping[str, Any]:
    """A cell's recipe, without the learning rate if that is one of the task's own to choose from.

    Cells of one entry on one task, at different rates, have it in common.
    """
    recipe = record.settings.recipe
    if len(rates_of(record)) == 1:
        return recipe
    train = {name: value for name, value in recipe["train"].items() if name != "learning_rate"}
    return {**recipe, "train": train}


def chosen_rate(records: Iterable[Record]) -> float | None:
    """The rate that validation chooses among the records of one entry on one task.

    A rate whose cell did not end well (out of memory, too long, diverged) is not chosen.

    Returns:
        None where a rate has no record with seed 0 yet or none of them ended well.
    """
    tried = {rate_of(one): one for one in records if one.seed == SEARCH_SEED}
    if not tried:
        return None
    rates = rates_of(next(iter(tried.values())))
    if any(rate not in tried or tried[rate].status == "error" for rate in rates):
        return None
    return _preferred(tried, rates)


def _preferred(tried: Mapping[float, Record], rates: Sequence[float]) -> float | None:
    """The rate that validation prefers: nearest to the middle among those it cannot tell apart.

    Of two that are as near, it is the lower one. None where no cell ended well.
    """
    found = {rate: found for rate in rates if (found := _validated(tried[rate])) is not None}
    if not found:
        return None
    best = max(found.values(), key=lambda one: one[0])
    within = [rate for rate, (value, _) in found.items() if value >= best[0] - best[1]]
    middle = (len(rates) - 1) / 2
    return min(within, key=lambda rate: (abs(rates.index(rate) - middle), rate))


def _validated(record: Record) -> tuple[float, float] | None:
    """The validation result of a cell, greater for the better, and its standard error."""
    metric = record.task.metric
    if record.status != "ok" or metric not in record.metrics.valid:
        return None
    found = record.metrics.valid[metric]
    return found.value if record.task.higher_is_better else -found.value, found.standard_error


def at_chosen_rate(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Part the records of one entry on one task: those at its rate, and those at other rates.

    Where no rate is chosen yet, or all of them failed, every record is among the first.
    """
    rate = chosen_rate(records)
    if rate is None:
        return list(records), []
    chosen = [one for one in records if rate_of(one) == rate]
    return chosen, [one for one in records if rate_of(one) != rate]


def at_best_rate(records: Sequence[Record]) -> list[Record]:
    """The records of one entry on one task at its rate, or at the best one so far.

    Where no rate is chosen yet, that is, of the rates that ended well with seed 0, the one that
    validation prefers, or else the one with the most records.

    Args:
        records: the records, at least one.
    """
    rate = chosen_rate(records)
    if rate is None:
        rate = _best_so_far(records)
    return [one for one in records if rate_of(one) == rate]


def _best_so_far(records: Sequence[Record]) -> float:
    tried = {
        rate_of(one): one for one in records if one.seed == SEARCH_SEED and one.status == "ok"
    }
    if (rate := _preferred(tried, sorted(tried))) is not None:
        return rate
    counts = Counter(map(rate_of, records))
    return max(sorted(counts), key=lambda rate: counts[rate])
