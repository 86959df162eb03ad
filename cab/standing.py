"""The standing of a published number: self-reported, smoke-checked or verified."""

from collections.abc import Iterable, Mapping
from typing import Literal

from cab.published import Verification

Standing = Literal["self-reported", "smoke-checked", "verified"]


def standing(
    keys_by_task: Mapping[str, Iterable[str]], runs: Mapping[str, Verification]
) -> Standing:
    """The standing of an entry's score.

    verified: of every task that counts a record was run again, and each re-run lies inside its
    interval; smoke-checked: this holds for a sample of the tasks; self-reported: nothing was run
    again, or a re-run lies outside.

    Args:
        keys_by_task: the keys of the entry's records on each counting task.
        runs: re-runs by key.
    """
    again = {
        task: [runs[key] for key in keys if key in runs] for task, keys in keys_by_task.items()
    }
    if not all(run.inside for found in again.values() for run in found) or not any(again.values()):
        return "self-reported"
    return "verified" if all(again.values()) else "smoke-checked"
