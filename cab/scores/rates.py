"""The learning rates of an entry on a task: which one counts, and what the others gave.

The choice itself is `cab.records.rates`: the task's rates are tried with one seed, validation
chooses, and the other seeds run at its choice. Records at other rates are never seeds of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cab.profiles import SEEDS_FOR_A_RANK
from cab.records.rates import SEARCH_SEED, at_best_rate, rate_of, rates_of, to_try
from cab.records.store import Record


@dataclass(frozen=True)
class Tried:
    """What a learning rate gave with the seed of the search; no values if it did not end well."""

    rate: float
    status: str
    valid: float | None
    test: float | None


@dataclass(frozen=True)
class Tuning:
    """The learning rates of an entry on a task.

    rate is the one that counts. settled is false as long as a rate is still to be tried, so that
    the choice may still change. tried holds what each rate gave, in increasing
    order of the rates; it is empty for a task that gives no choice.
    """

    rate: float
    settled: bool
    tried: tuple[Tried, ...] = ()

    @property
    def sensitivity(self) -> float | None:
        """The best minus the worst test result of the rates that ended well, in the metric's unit.

        None where fewer than two rates did.
        """
        values = [one.test for one in self.tried if one.test is not None]
        return max(values) - min(values) if len(values) > 1 else None


def tuned(records: Sequence[Record]) -> tuple[Tuning, list[Record]]:
    """The learning rates of one entry on one task, and the records at the rate that counts.

    Args:
        records: the records of one entry on one task, at least one.
    """
    own = at_best_rate(records)
    if len(rates_of(records[0])) == 1:
        return Tuning(rate_of(own[0]), True), own
    tried = {rate_of(one): one for one in records if one.seed == SEARCH_SEED}
    settled = bool(tried) and not to_try(records)
    found = tuple(_tried(tried[rate]) for rate in sorted(tried))
    return Tuning(rate_of(own[0]), settled, found), own


def _tried(record: Record) -> Tried:
    metric = record.task.metric
    valid, test = record.metrics.valid.get(metric), record.metrics.test.get(metric)
    good = record.status == "ok"
    return Tried(
        rate_of(record),
        record.status,
        valid.value if good and valid is not None else None,
        test.value if good and test is not None else None,
    )


def trial_of(tuning: Tuning, seeds: int) -> str:
    """Why a row is a trial and no complete result; empty if it is complete.

    Args:
        tuning: its learning rates.
        seeds: how many seeds ran at the rate that counts, well or not.
    """
    if not tuning.settled:
        return "not all learning rates were tried"
    if seeds < SEEDS_FOR_A_RANK:
        return f"{seeds} seed{'' if seeds == 1 else 's'}, a rank needs {SEEDS_FOR_A_RANK}"
    return ""
