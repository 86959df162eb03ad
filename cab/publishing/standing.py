"""The standing of a published number: whether it was run again, and what came of it."""

from collections.abc import Iterable, Mapping
from typing import Literal

from scipy.stats import binom

from cab.records.results import Verification

Standing = Literal["self-reported", "smoke-checked", "verified", "not reproduced"]


def standing(
    keys_by_task: Mapping[str, Iterable[str]], runs: Mapping[str, Verification]
) -> Standing:
    """The standing of an entry's score.

    self-reported: nothing was run again. not reproduced: more re-runs lie outside their intervals
    than one honest row in twenty has, since each interval of 95 % leaves out some. Else verified,
    if of every task that counts a record was run again, and smoke-checked for a sample of them.

    Args:
        keys_by_task: the keys of the entry's records on each counting task.
        runs: re-runs by key.
    """
    again = {
        task: [runs[key] for key in keys if key in runs] for task, keys in keys_by_task.items()
    }
    found = [run for own in again.values() for run in own]
    if not found:
        return "self-reported"
    inside = sum(run.inside for run in found)
    if round(binom.cdf(inside, len(found), 0.95), 9) <= 0.05:
        return "not reproduced"
    return "verified" if all(again.values()) else "smoke-checked"
