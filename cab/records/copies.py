"""Records that claim to be of one cell under different keys: only the right key counts."""

import hashlib
import json
from collections.abc import Iterable
from typing import Protocol, TypeVar

import cab
from cab.records.parts import Settings, TaskInfo, VariantInfo


class OfCell(Protocol):
    """The parts of a record that say which cell it is of."""

    @property
    def key(self) -> str:
        """The key that it is stored by."""

    @property
    def variant(self) -> VariantInfo:
        """The mechanism."""

    @property
    def task(self) -> TaskInfo:
        """The task."""

    @property
    def settings(self) -> Settings:
        """The recipe, and what was changed in it."""

    @property
    def seed(self) -> int:
        """The seed."""


Item = TypeVar("Item", bound=OfCell)


def key_of(record: OfCell) -> str:
    """The key that the cell of a record has, from what the record says of the cell."""
    variant, task = record.variant, record.task
    content: dict[str, object] = {
        "variant": variant.name,
        "source": variant.source_hash,
        "config": variant.config,
        "task": task.name,
        "task_version": task.version,
        "profile": task.profile,
        "recipe": record.settings.recipe,
        "seed": record.seed,
        "cab": cab.__version__.split(".")[0],
    }
    if variant.unchecked:
        content["unchecked"] = True
    if (task_source := getattr(task, "source_hash", None)) is not None:
        content["task_source"] = task_source
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def without_copies(placed: Iterable[tuple[object, Item]]) -> tuple[list[Item], list[str]]:
    """Drop records of a cell that another record is of, too; say so in a sentence for each.

    Of records of one cell the one counts whose key is the cell's. Where none has it, none counts.

    Args:
        placed: each record with the file that holds it.
    """
    cells: dict[str, list[tuple[object, Item]]] = {}
    for place, record in placed:
        said = [key_of(record), record.variant.options, record.settings.changed]
        cells.setdefault(json.dumps(said, sort_keys=True, default=str), []).append((place, record))
    kept: list[Item] = []
    problems: list[str] = []
    for found in cells.values():
        keys = {record.key for _, record in found}
        key = key_of(found[0][1])
        if len(keys) == 1:
            kept.append(found[-1][1])
            continue
        kept += [record for _, record in found if record.key == key][-1:]
        problems.append(_sentence(found, key))
    return kept, problems


def _sentence(found: list[tuple[object, Item]], key: str) -> str:
    record = found[0][1]
    cell = f"{record.variant.name} on {record.task.name}, seed {record.seed}"
    places = " and ".join(str(place) for place, _ in found)
    wrong = [str(place) for place, record in found if record.key != key]
    if len(wrong) == len(found):
        which = "Neither has it, so they were skipped; delete them and run the cell again."
    else:
        which = f"{' and '.join(wrong)} has another key and was skipped; delete it."
    return f"{places} hold results of one cell ({cell}), whose key is {key}. {which}"
