"""The precision of decode states: what entries lose when theirs is stored in fewer bits."""

from dataclasses import dataclass
from typing import Any

from cab.publishing.status import AGREES
from cab.records.precision import Precision, RoundedState
from cab.site.content import Content, ProfileContent

NEGLIGIBLE = AGREES
"""A loss on the task's scale up to which a type counts as lossless, as large as the difference up
to which a rerun agrees."""


@dataclass(frozen=True)
class PrecisionRow:
    """A variant on a task, and the sentence on where it was measured.

    fewest: the type with the smallest state of those that lose at most `NEGLIGIBLE` of the
    scale, one standard error included; empty if all lose more.
    """

    variant: str
    family: str
    found: Precision
    fewest: str
    measured_with: str

    @property
    def types(self) -> list[tuple[str, RoundedState]]:
        """What each type gives, the largest states first."""
        return sorted(self.found.rounded.items(), key=lambda item: (-item[1].size, item[0]))


def of_variant(content: Content, one: ProfileContent, variant: str) -> dict[str, PrecisionRow]:
    """What was measured of a variant on the tasks as they are now, by task."""
    measured = content.precision.get(variant)
    if measured is None:
        return {}
    where = f"PyTorch {measured.torch} on {measured.processor}"
    return {
        task: PrecisionRow(variant, content.family(variant), found, fewest(found), where)
        for task, found in measured.tasks.items()
        if task in content.tasks
        and found.version == content.tasks[task].version
        and found.profile == one.profile
    }


def precision(content: Content, one: ProfileContent) -> dict[str, Any]:
    """A table for each task: variants by the size of their state, and every type's loss."""
    tables = []
    every = [of_variant(content, one, variant) for variant in content.precision]
    for name, card in content.tasks.items():
        rows = [found[name] for found in every if name in found]
        if rows:
            rows.sort(key=lambda row: (row.found.size, row.variant))
            types = list(dict.fromkeys(key for row in rows for key in row.found.rounded))
            types.sort(key=lambda key: (-largest(rows, key), key))
            tables.append(
                {
                    "card": card,
                    "rows": rows,
                    "types": types,
                    "conditions": sorted({row.measured_with for row in rows}),
                }
            )
    return {"precisions": tables, "negligible": NEGLIGIBLE}


def largest(rows: list[PrecisionRow], dtype: str) -> float:
    """The largest share of a state's float32 bytes that it takes in a type."""
    return max(
        rounded[dtype].size / row.found.size
        for row in rows
        if dtype in (rounded := row.found.rounded) and row.found.size
    )


def fewest(found: Precision) -> str:
    """The type with the smallest state whose loss is negligible; empty if there is none."""
    small = sorted(found.rounded.items(), key=lambda item: (item[1].size, item[0]))
    return next((name for name, one in small if _harmless(one)), "")


def _harmless(one: RoundedState) -> bool:
    return one.score_lost.value + one.score_lost.standard_error <= NEGLIGIBLE
