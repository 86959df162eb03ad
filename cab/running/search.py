"""The choice of learning rates during a run: once all rates have ended, more seeds at one of them.

What is tried and what is chosen is in `cab.records.rates`, as functions of records alone.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cab.errors import CabError
from cab.records.rates import SEARCH_SEED, chosen_rate, rate_of, to_try, with_further
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
    _asked: dict[str, set[float]] = field(default_factory=dict)
    _decided: set[str] = field(default_factory=set)

    def known(self, cells: Iterable[Cell], store: RecordStore) -> list[Cell]:
        """The cells that follow from the records of `cells`, and of these, that are in a store."""
        found: list[Cell] = []
        waiting = deque(cells)
        while waiting:
            cell = waiting.popleft()
            try:
                record = store.read(cell.key) if is_search(cell) else None
            except CabError:  # a file that is no record; the cell itself will say so
                continue
            following = self.follow(cell, record)
            found += following
            waiting += following
        return found

    def follow(self, cell: Cell, record: Record | None) -> list[Cell]:
        """Take note of a cell that ended; return the cells that follow from its search, once."""
        if record is None or not is_search(cell):
            return []
        group = group_of(cell)
        tried = self._tried.setdefault(group, {})
        tried[cell.key] = record.model_copy(update={"curve": ()})
        found = self._more_rates(cell, group) or self._more_seeds(cell, group)
        self.added += found
        return found

    def _more_rates(self, cell: Cell, group: str) -> list[Cell]:
        """The cells at rates beyond the task's own that are to be tried, each once."""
        asked = self._asked.setdefault(group, set(cell.recipe.rates))
        rates = [rate for rate in to_try(self._tried[group].values()) if rate not in asked]
        asked.update(rates)
        return [dataclasses.replace(cell, recipe=cell.recipe.at_rate(rate)) for rate in rates]

    def _more_seeds(self, cell: Cell, group: str) -> list[Cell]:
        rate = chosen_rate(self._tried[group].values())
        if rate is None or group in self._decided:
            return []
        self._decided.add(group)
        recipe = cell.recipe.at_rate(rate)
        return [
            dataclasses.replace(cell, recipe=recipe, seed=seed)
            for seed in range(self.seeds)
            if seed != SEARCH_SEED
        ]

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
    """Whether a cell tries a rate of its task, or one beyond, with the seed of the search."""
    rates = with_further(cell.recipe.rates)
    return cell.seed == SEARCH_SEED and cell.recipe.train.learning_rate in rates


def group_of(cell: Cell) -> str:
    """The same text for all rates and seeds of an entry on a task, and for nothing else."""
    if not cell.recipe.rates:
        return cell.key
    recipe = cell.recipe.at_rate(cell.recipe.rates[0])
    return dataclasses.replace(cell, recipe=recipe, seed=SEARCH_SEED).key
