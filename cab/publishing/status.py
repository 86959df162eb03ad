"""The status of a published number: whether it was rerun, and whether that gave the same.

A rerun is a run of the same seed, so it starts from the same weights and sees the same batches.
What remains is the rounding of another machine. It was measured on 48 cells of linear attention
that were published from an AMD processor and rerun on an Intel one, with another release of
the code: the median difference is .0014 of a task's scale, 90 % are below .02, the largest is
.084. The limits are those figures. The author's standard errors and the scatter of the author's
seeds do not enter: both could be stated at will.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binom

from cab.publishing.metrics import metric_of
from cab.records.results import Verification
from cab.scores.normalise import Scale

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


@dataclass(frozen=True)
class Rerun:
    """A rerun and how far it lies from what was published, on the task's scale."""

    run: Verification
    difference: float

    @property
    def agreement(self) -> Agreement:
        """Whether the rerun gives the published value."""
        if self.difference <= AGREES:
            return "agrees"
        return "tolerated" if self.difference <= TOLERATED else "differs"


def compare(run: Verification, metric: str, scale: Scale | None) -> Rerun:
    """Say how far a rerun is from its published value.

    Args:
        run: the rerun.
        metric: the task's.
        scale: the task's, from its certificate. Without one, differences are in
            shares of the metric's range, or of the published value if there is no range.
    """
    unit = abs(scale.top - scale.floor) if scale is not None else metric_of(metric).span
    if unit is None:
        unit = abs(run.published)
    away = abs(run.value - run.published)
    return Rerun(run, away / unit if unit else (math.inf if away else 0.0))


def reproduced(reruns: Sequence[Rerun]) -> bool:
    """Whether reruns give what was published: none differs, and few enough are only tolerated.

    So many are few enough as one honest row in twenty exceeds, if one rerun in ten is off.
    """
    if any(one.agreement == "differs" for one in reruns):
        return False
    off = sum(one.agreement == "tolerated" for one in reruns)
    return not off or float(binom.sf(off - 1, len(reruns), OFTEN)) > LEVEL


def status_of(keys_by_task: Mapping[str, Iterable[str]], reruns: Mapping[str, Rerun]) -> Status:
    """The status of an entry's score.

    self-reported: nothing was rerun. not reproduced: see `reproduced`. Else verified, if a record
    of every scored task was rerun, and smoke-checked for a sample of them.

    Args:
        keys_by_task: the keys of the entry's records on each scored task.
        reruns: reruns by key.
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
