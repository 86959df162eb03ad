"""The status of a published number: whether it was rerun, and whether that gave the same.

A rerun is a run of the same seed, so it starts from the same weights and sees the same batches.
What remains is the rounding of another machine. It was measured on 48 cells of linear attention
that were published from an AMD processor and rerun on an Intel one, with another release of
the code: the median difference is .0014 of a task's scale, 90 % are below .02, the largest is
.084. The limits are those figures. The author's standard errors and the scatter of the author's
seeds do not enter: both could be stated at will.

On another kind of processor rounding now and then decides what a network learns: of 66 cells of
softmax, none and mean, 60 were within .02 and two beyond .1. So where a rerun on another kind
differs, the other seeds are rerun as well, and the mean over the seeds, which is what the board
shows, is compared instead, with the same limits.
"""

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binom

from cab.profiles import SEEDS_FOR_A_RANK
from cab.publishing.metrics import metric_of
from cab.records.rates import rate_of
from cab.records.results import Verification
from cab.records.store import Record
from cab.scores.normalise import Scale
from cab.scores.summary import entry_label

AGREES = 0.02
"""The difference, on a task's scale of 0 to 1, up to which a rerun agrees."""

TOLERATED = 0.1
"""The difference up to which a rerun may be off now and then; beyond it the row is not
reproduced."""

OFTEN = 0.1
"""The share of honest reruns that differ by more than AGREES."""

LEVEL = 0.05
"""The probability below which so many differences, or more, are no chance."""

Status = Literal["self-reported", "smoke-checked", "verified", "not reproduced"]
Agreement = Literal["agrees", "tolerated", "differs"]


class Compared(ABC):
    """Something that was rerun, and how far it lies from what was published."""

    @property
    @abstractmethod
    def difference(self) -> float:
        """How far it lies from what was published, on the task's scale."""

    @property
    @abstractmethod
    def seeds(self) -> int:
        """Over how many seeds it is."""

    @property
    def agreement(self) -> Agreement:
        """Whether it gives what was published."""
        if self.difference <= AGREES:
            return "agrees"
        return "tolerated" if self.difference <= TOLERATED else "differs"


@dataclass(frozen=True)
class Rerun(Compared):
    """A rerun, and how far it lies above what was published, on the task's scale.

    elsewhere: whether it ran on another kind of processor than the published cell.
    """

    run: Verification
    above: float
    elsewhere: bool = False

    @property
    def difference(self) -> float:
        """How far it lies from what was published."""
        return abs(self.above)

    @property
    def seeds(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True)
class OverSeeds(Compared):
    """Reruns of all seeds of an entry on a task, which are compared by their mean."""

    reruns: tuple[Rerun, ...]

    @property
    def difference(self) -> float:
        """How far the mean lies from that of what was published."""
        return abs(statistics.fmean(one.above for one in self.reruns))

    @property
    def seeds(self) -> int:
        """Over how many seeds the mean is."""
        return len(self.reruns)


def compare(run: Verification, metric: str, scale: Scale | None, elsewhere: bool = False) -> Rerun:
    """Say how far a rerun is from its published value.

    Args:
        run: the rerun.
        metric: the task's.
        scale: the task's, from its certificate. Without one, differences are in
            shares of the metric's range, or of the published value if there is no range.
        elsewhere: whether it ran on another kind of processor than the published cell.
    """
    unit = abs(scale.top - scale.floor) if scale is not None else metric_of(metric).span
    if unit is None:
        unit = abs(run.published)
    above = run.value - run.published
    return Rerun(run, above / unit if unit else (math.inf if above else 0.0), elsewhere)


def seeds_together(records: Iterable[Record]) -> list[frozenset[str]]:
    """The keys of the seeds that a mean is over: of an entry on a task at one learning rate.

    Groups of fewer seeds than a rank needs are left out, and records that did not end well.
    """
    found: dict[tuple[str, str, float], set[str]] = {}
    for record in records:
        if record.status == "ok":
            place = entry_label(record), record.task.name, rate_of(record)
            found.setdefault(place, set()).add(record.key)
    return [frozenset(keys) for keys in found.values() if len(keys) >= SEEDS_FOR_A_RANK]


def to_follow(reruns: Mapping[str, Rerun], together: Iterable[Collection[str]]) -> frozenset[str]:
    """The keys of the other seeds where a rerun on another kind of processor differs."""
    return frozenset(
        key
        for keys in together
        if any(_differs_elsewhere(reruns[one]) for one in keys if one in reruns)
        for key in keys
        if key not in reruns
    )


def judged(
    reruns: Mapping[str, Rerun], together: Iterable[Collection[str]]
) -> dict[str, Compared]:
    """What counts of reruns: each, or where one differs elsewhere the mean over its seeds.

    The mean counts only if every seed was rerun on another kind of processor. On the same kind a
    rerun gives the same bits or nearly so, and each counts.

    Returns:
        by key; seeds that count together share one comparison.
    """
    found: dict[str, Compared] = dict(reruns)
    for keys in together:
        own = [reruns[key] for key in sorted(keys) if key in reruns]
        if len(own) < len(keys) or not all(one.elsewhere for one in own):
            continue
        if any(_differs_elsewhere(one) for one in own):
            found |= dict.fromkeys(keys, OverSeeds(tuple(own)))
    return found


def _differs_elsewhere(one: Rerun) -> bool:
    return one.elsewhere and one.agreement == "differs"


def reproduced(reruns: Iterable[Compared]) -> bool:
    """Whether reruns give what was published: none differs, and few enough are only tolerated.

    So many are few enough as one honest row in twenty exceeds, if one rerun in ten is off.
    """
    each = list({id(one): one for one in reruns}.values())
    if any(one.agreement == "differs" for one in each):
        return False
    off = sum(one.agreement == "tolerated" for one in each)
    return not off or float(binom.sf(off - 1, len(each), OFTEN)) > LEVEL


def status_of(keys_by_task: Mapping[str, Iterable[str]], reruns: Mapping[str, Compared]) -> Status:
    """The status of an entry's score.

    self-reported: nothing was rerun. not reproduced: see `reproduced`. Else verified, if a record
    of every scored task was rerun, and smoke-checked for a sample of them.

    Args:
        keys_by_task: the keys of the entry's records on each scored task.
        reruns: what counts of the reruns, by key (`judged`).
    """
    found = {
        task: [reruns[key] for key in keys if key in reruns] for task, keys in keys_by_task.items()
    }
    together = [one for own in found.values() for one in own]
    if not together:
        return "self-reported"
    if not reproduced(together):
        return "not reproduced"
    return "verified" if all(found.values()) else "smoke-checked"
