"""The learning rate of an entry on a task, which validation chooses among the task's rates.

All rates are tried with seed 0, and the other seeds run at the chosen one. Of the best result and
those within one standard error of it, the rate nearest to the middle is preferred: validation
cannot tell these apart, and the highest of them would often be another one on another machine.
This is the rule of one standard error for choosing among fits (Breiman, Friedman, Olshen, Stone,
1984, "Classification and Regression Trees", section 3.4.3).

If the lowest of the rates is preferred, half of it is tried too; if the highest is, twice of it;
and so on, up to `FURTHER` times. So a chosen rate has a neighbour on both sides that is no better,
unless the search ended at its limit.

The choice depends on records alone, so that a resumed sweep, a sweep on many machines and a reader
of the published records all make the same one. It reads validation only: test results decide
nothing.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from cab.records.copies import OfCell
from cab.records.store import Record

SEARCH_SEED = 0
"""The seed with which all rates are tried."""

FURTHER = 2
"""How many rates are tried beyond each end of the task's own, at most."""


def rate_of(record: OfCell) -> float:
    """The learning rate with which a cell was trained; 0 where its recipe gives none."""
    training = record.settings.recipe.get("train")
    rate = training.get("learning_rate") if isinstance(training, Mapping) else None
    return float(rate) if _is_number(rate) else 0.0


def rates_of(record: Record) -> tuple[float, ...]:
    """The rates of a cell's recipe, in increasing order; its own alone where there is no choice.

    A rate that the search never tries, set by hand (`--set train.learning_rate`), is no choice
    either.
    """
    given = record.settings.recipe.get("rates", ())
    listed = given if isinstance(given, list | tuple) else ()
    rates = [float(one) for one in listed if _is_number(one)]
    return tuple(rates) if rate_of(record) in with_further(rates) else (rate_of(record),)


def with_further(rates: Sequence[float]) -> tuple[float, ...]:
    """A task's rates, and those beyond both ends that may be tried, in increasing order."""
    if not rates:
        return ()
    below = [rates[0] / 2**n for n in range(FURTHER, 0, -1)]
    return (*below, *rates, *(rates[-1] * 2**n for n in range(1, FURTHER + 1)))


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
        None where a rate is still to be tried (`to_try`) or none of them ended well.
    """
    return _searched(records)[1]


def to_try(records: Iterable[Record]) -> tuple[float, ...]:
    """The rates that are to be tried next, by the records of one entry on one task.

    These are the task's own first, then the neighbours of the preferred one. A cell that ended in
    an error is to be tried again.
    """
    return _searched(records)[0]


def _searched(records: Iterable[Record]) -> tuple[tuple[float, ...], float | None]:
    """What is to be tried next, or else the rate that is chosen, if any cell ended well."""
    tried = {rate_of(one): one for one in records if one.seed == SEARCH_SEED}
    if not tried:
        return (), None
    rates = rates_of(next(iter(tried.values())))
    further = with_further(rates) if len(rates) > 1 else rates
    asked = list(rates)  # what the rule asks for; records at further rates change no choice
    while True:
        missing = [rate for rate in asked if rate not in tried or tried[rate].status == "error"]
        if missing:
            return tuple(missing), None
        best = _preferred({rate: tried[rate] for rate in asked}, rates)
        if best is None:
            return (), None
        at = further.index(best)
        beside = further[max(0, at - 1) : at + 2]
        if not (more := [rate for rate in beside if rate not in asked]):
            return (), best
        asked += more


def _preferred(tried: Mapping[float, Record], rates: Sequence[float]) -> float | None:
    """The rate that validation prefers: nearest to the middle among those it cannot tell apart.

    Of two that are as near, it is the lower one. None where no cell ended well.
    """
    found = {rate: one for rate in tried if (one := _validated(tried[rate])) is not None}
    if not found:
        return None
    value, error = max(found.values())
    order = with_further(rates)
    middle = (len(order) - 1) / 2
    return min(
        (rate for rate, one in found.items() if one[0] >= value - error),
        key=lambda rate: (abs(order.index(rate) - middle), rate),
    )


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


def without_seeds_beside(records: Sequence[Record]) -> list[Record]:
    """Records of one variant, without further seeds at rates that validation does not choose.

    What the rates gave with the seed of the search stays.
    """
    groups: dict[str, list[Record]] = {}
    for one in records:
        settings = {**one.variant.options, **one.settings.changed}
        name = json.dumps((one.task.name, one.task.version, settings), sort_keys=True, default=str)
        groups.setdefault(name, []).append(one)
    beside = {
        one.key
        for own in groups.values()
        for one in at_chosen_rate(own)[1]
        if one.seed != SEARCH_SEED
    }
    return [one for one in records if one.key not in beside]


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


def at_an_end(records: Sequence[Record]) -> bool:
    """Whether the rate of one entry on one task is the lowest or highest of those tried."""
    tried = {rate_of(one) for one in records if one.seed == SEARCH_SEED}
    return len(tried) > 1 and rate_of(at_best_rate(records)[0]) in (min(tried), max(tried))


def _best_so_far(records: Sequence[Record]) -> float:
    tried = {
        rate_of(one): one for one in records if one.seed == SEARCH_SEED and one.status == "ok"
    }
    rates = rates_of(records[0])
    if (rate := _preferred(tried, rates)) is not None:
        return rate
    counts = Counter(map(rate_of, records))
    return max(sorted(counts), key=lambda rate: counts[rate])
