"""Published results of softmax and none, shown where a store has none of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cab.records.rates import recipe_at_any_rate
from cab.records.store import Record
from cab.scores.summary import Row, entry_label, summarise
from cab.scores.table import host_class

Place = tuple[str, int]
"""A task and its version."""


@dataclass(frozen=True)
class PublishedReference:
    """A published row of a reference, with the recipe it was trained by and its machines."""

    row: Row
    recipe: Mapping[str, Any]
    machines: tuple[str, ...]


def published_references(
    records: Iterable[Record], sources: Mapping[str, str]
) -> dict[tuple[Place, str], PublishedReference]:
    """The published rows of references by task, version and name.

    Only records of the installed source, checked, and trained by the task's own recipe stand in
    for one's own; where those of a task differ in their recipe, the newest is the one.

    Args:
        records: the published records of one profile.
        sources: the source hash of each reference as it is installed.
    """
    groups: dict[tuple[Place, str], list[Record]] = {}
    for record in records:
        variant, task = record.variant, record.task
        plain = not (variant.unchecked or variant.options or record.settings.changed)
        if plain and sources.get(variant.name) == variant.source_hash:
            groups.setdefault(((task.name, task.version), variant.name), []).append(record)
    found = {}
    for key, group in groups.items():
        newest = max(group, key=lambda record: record.provenance.ended)
        recipe = recipe_at_any_rate(newest)
        alike = [one for one in group if recipe_at_any_rate(one) == recipe]
        (row,) = summarise(alike)
        if row.mean is not None:
            machines = {host_class(record.environment) for record in alike}
            # Seconds of another machine stand beside no others.
            found[key] = PublishedReference(
                replace(row, seconds=None), recipe, tuple(sorted(machines))
            )
    return found


@dataclass(frozen=True)
class StandIns:
    """What a store's rows are shown beside, where the store has no softmax or none of its own.

    names are softmax and none; recipes holds those by which each entry was trained on a task,
    without the entries whose training was changed: they compare with nothing that was published.
    """

    names: tuple[str, str]
    published: Mapping[tuple[Place, str], PublishedReference]
    recipes: Mapping[tuple[Place, str], list[Mapping[str, Any]]]

    def of_task(self, rows: Mapping[str, Row]) -> dict[str, PublishedReference]:
        """The published references, by name, that the rows of one task lack and compare with.

        Args:
            rows: the store's rows of one task and version, by entry.
        """
        found = {}
        for place in {(row.task, row.version) for row in rows.values()}:
            for name in self.names:
                own, other = rows.get(name), self.published.get((place, name))
                if other is None or (own is not None and own.mean is not None):
                    continue
                if any(self.compares(row, other) for row in rows.values() if row != own):
                    found[name] = other
        return found

    def compares(self, row: Row, other: PublishedReference) -> bool:
        """Whether a row of the store was trained by the recipe of a published reference."""
        return self.recipes.get(((row.task, row.version), row.entry)) == [other.recipe]


def find_stand_ins(
    own: Iterable[Record],
    published: Iterable[Record],
    names: tuple[str, str],
    sources: Mapping[str, str],
) -> StandIns:
    """Find what may stand in; `sources` as in `published_references`."""
    recipes: dict[tuple[Place, str], list[Mapping[str, Any]]] = {}
    for record in own:
        if not record.settings.changed:
            place = record.task.name, record.task.version
            seen = recipes.setdefault((place, entry_label(record)), [])
            recipe = recipe_at_any_rate(record)
            if recipe not in seen:
                seen.append(recipe)
    return StandIns(names, published_references(published, sources), recipes)
