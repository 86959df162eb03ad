"""The choice of learning rates during a run: once all rates have ended, more seeds at the best.

The choice itself is `cab.records.rates.chosen_rate`, a function of records alone.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cab.errors import CabError
from cab.records.rates import SEARCH_SEED, chosen_rate, rate_of
from cab.records.store import Record, RecordStore
from cab.running.cells import Cell

SEEDS = 3
"""How many seeds an entry has at its rate, that of the search among them."""


@dataclass
class Search:
    """The searches among some cells; it says which cells follow from records.

    Args:
        seeds: how many seeds each entry gets at its rate in all.
    """

    seeds: int = SEEDS
    added: list[Cell] = field(default_factory=list)
    _tried: dict[str, dict[str, Record]] = field(default_factory=dict)
    _decided: set[str] = field(default_factory=set)

    def known(self, cells: Iterable[Cell], store: RecordStore) -> list[Cell]:
        """The cells that follow from the records of `cells` that are in a store."""
        found: list[Cell] = []
        for cell in cells:
            try:
                record = store.read(cell.key) if is_search(cell) else None
            except CabError:  # a file that is no record; the cell itself will say so
                continue
            found += self.follow(cell, record)
        return found

    def follow(self, cell: Cell, record: Record | None) -> list[Cell]:
        """Take note of a cell that ended; return the cells that follow, each search's once."""
        if record is None or not is_search(cell):
            return []
        group = group_of(cell)
        tried = self._tried.setdefault(group, {})
        tried[cell.key] = record.model_copy(update={"curve": ()})
        rate = chosen_rate(tried.values())
        if rate is None or group in self._decided:
            return []
        self._decided.add(group)
        recipe = cell.recipe.at_rate(rate)
        found = [
            dataclasses.replace(cell, recipe=recipe, seed=seed)
            for seed in range(self.seeds)
            if seed != SEARCH_SEED
        ]
        self.added += found
        return found

    def open(self, cells: Sequence[Cell]) -> int:
        """How many searches have all rates among cells or records, and are not decided yet."""
        missing: dict[str, set[float]] = {}
        for cell in filter(is_search, cells):
            group = group_of(cell)
            tried = self._tried.get(group, {}).values()
            rates = missing.setdefault(group, {*cell.recipe.rates} - {*map(rate_of, tried)})
            rates.discard(cell.recipe.train.learning_rate)
        return sum(not rates for group, rates in missing.items() if group not in self._decided)


def is_search(cell: Cell) -> bool:
    """Whether a cell tries one of its task's rates with the seed of the search."""
    rates = cell.recipe.rates
    return cell.seed == SEARCH_SEED and cell.recipe.train.learning_rate in rates


def group_of(cell: Cell) -> str:
    """The same text for all rates and seeds of an entry on a task, and for nothing else."""
    if not cell.recipe.rates:
        return cell.key
    recipe = cell.recipe.at_rate(cell.recipe.rates[0])
    return dataclasses.replace(cell, recipe=recipe, seed=SEARCH_SEED).key
