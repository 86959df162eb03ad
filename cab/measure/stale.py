"""Rows of variants whose source has changed since they were measured."""

from collections.abc import Iterable

from cab.measure.record import BenchRow
from cab.records.sources import Sources
from cab.registry import Registry
from cab.taxonomy import VariantCard


def part_by_source(
    rows: Iterable[BenchRow], variants: Registry[VariantCard]
) -> tuple[list[BenchRow], list[BenchRow]]:
    """Return the rows of the current sources, then the stale ones.

    Rows of operators, which have no source hash, and of unknown variants are kept.
    """
    sources = Sources()
    kept: list[BenchRow] = []
    stale: list[BenchRow] = []
    for row in rows:
        entry = None if row.operator else variants.entries.get(row.name)
        here = entry is None or sources.hash(entry.path) == row.source_hash
        (kept if here else stale).append(row)
    return kept, stale
