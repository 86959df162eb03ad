"""Do the levels of a record fit its recipe, its metrics, and what shortcuts score there?"""

from collections.abc import Iterator, Mapping

from cab.publishing.measured import estimate_problems, possible_problems
from cab.publishing.metrics import ROUNDING, metric_of
from cab.publishing.recount import TaskFacts
from cab.records.parts import Estimate
from cab.records.store import Record
from cab.running.cells import Cell
from cab.running.training import over_levels
from cab.task import level_names


def level_problems(record: Record, cell: Cell) -> Iterator[str]:
    """Yield what is wrong with the levels of a record that ended well."""
    levels, recipe = record.metrics.levels, cell.recipe
    if [one.name for one in levels] != list(level_names(recipe.levels)):
        yield f"its levels are not the {len(recipe.levels)} of the task"
        return
    if not levels:
        return
    metric = record.task.metric
    for one in levels:
        for split, said, count in (
            ("valid", one.valid, recipe.valid_examples),
            ("test", one.test, recipe.test_examples),
        ):
            where = f"{split} {metric} at level {one.level}"
            yield from possible_problems(where, said, metric_of(metric))
            if said.n != count:
                yield f"{where} is of {said.n} examples; the recipe has {count}"
    for split, whole, parts in (
        ("valid", record.metrics.valid, [one.valid for one in levels]),
        ("test", record.metrics.test, [one.test for one in levels]),
    ):
        if metric in whole and not _same(whole[metric], Estimate.mean(parts)):
            yield f"{split} {metric} is not the mean of its levels"


def level_shortcuts(record: Record, facts: TaskFacts) -> Iterator[str]:
    """Yield how the shortcuts of a record differ from those of the task, level by level."""
    if not record.metrics.levels:
        yield from _shortcuts("", record.shortcuts, facts.shortcuts[0])
        return
    for one, known in zip(record.metrics.levels, facts.shortcuts, strict=False):
        yield from _shortcuts(f" at level {one.level}", one.shortcuts, known)
    yield from _shortcuts("", record.shortcuts, over_levels(facts.shortcuts))


def _shortcuts(
    where: str, said: Mapping[str, Estimate], known: Mapping[str, Estimate]
) -> Iterator[str]:
    if said.keys() != known.keys():
        names, has = (", ".join(sorted(one)) or "none" for one in (said, known))
        yield f"its shortcuts{where} are {names}; the task has {has}"
        return
    for name, found in known.items():
        yield from estimate_problems(f"shortcut {name}{where}", said[name], found)


def _same(one: Estimate, other: Estimate) -> bool:
    near = abs(one.value - other.value) <= ROUNDING
    return near and abs(one.standard_error - other.standard_error) <= ROUNDING and one.n == other.n
