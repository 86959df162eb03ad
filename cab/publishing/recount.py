"""What of a record can be computed here without training anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from cab.data import get_data_set, inspect
from cab.records.parts import Estimate
from cab.registry import Registry
from cab.running.cells import Cell
from cab.running.facts import (
    count_parameters,
    count_training_flops,
    fingerprint,
    shortcut_estimates,
)
from cab.running.trained import assemble
from cab.task import LENGTH_FACTORS, Batch, Task, slice_batch
from cab.taxonomy import TaskCard, VariantCard

RECOUNTED = 900
"""The seconds that a profile gives a cell, up to which training steps are counted here: in larger
profiles one step is too much for a processor."""


@dataclass(frozen=True)
class TaskFacts:
    """What a task's recipe fixes for every variant and seed.

    shortcuts: at each level; a task without levels has one. items: the most scored items that an
    example can have, at each level. exact: the examples are integers, so that they are the same on
    every processor. lengths: length and number of test examples at each multiple of the training
    length.
    """

    fingerprint: str
    shortcuts: tuple[Mapping[str, Estimate], ...]
    items: tuple[int, ...]
    exact: bool
    lengths: Mapping[float, tuple[int, int]]


@dataclass(frozen=True)
class ModelFacts:
    """The size of a cell's model and, in profiles where it is cheap, its cost and metrics."""

    parameters: int
    backbone_parameters: int
    flops: int | None
    metrics: frozenset[str] | None


class Recount:
    """Computes facts of cells, each once.

    Args:
        variants: all variants, with those of the records among them.
        tasks: all tasks.
        directory: where data sets lie.
    """

    def __init__(
        self, variants: Registry[VariantCard], tasks: Registry[TaskCard], directory: Path
    ) -> None:
        self._variants = variants
        self._tasks = tasks
        self._directory = directory
        self._facts: dict[str, TaskFacts] = {}
        self._examples: dict[str, Batch] = {}
        self._models: dict[str, ModelFacts] = {}
        self._absent: dict[str, str] = {}

    def absent(self, cell: Cell) -> str:
        """Say which data set of a cell's task is missing; nothing if all are there."""
        for name in cell.task.data:
            if name not in self._absent:
                state, sentence = inspect(get_data_set(name), self._directory)
                self._absent[name] = "" if state == "verified" else sentence
        return " ".join(filter(None, (self._absent[name] for name in cell.task.data)))

    def task(self, cell: Cell) -> TaskFacts:
        """The facts of a cell's task; its data must be there."""
        name = self._name(cell)
        if name not in self._facts:
            self._facts[name] = self._look_at(cell, name)
        return self._facts[name]

    def model(self, cell: Cell) -> ModelFacts:
        """The facts of a cell's model; the data of its task must be there."""
        name = json.dumps((self._name(cell), cell.source_hash, dict(cell.config)), sort_keys=True)
        if name not in self._models:
            self._models[name] = self._build(cell)
        return self._models[name]

    @staticmethod
    def _name(cell: Cell) -> str:
        """The same at all learning rates: neither data nor sizes depend on them."""
        recipe = cell.recipe.at_rate(min(cell.recipe.rates, default=1.0))
        return json.dumps((cell.task.name, recipe.as_dict()), sort_keys=True)

    def _task(self, cell: Cell) -> Task:
        found = self._tasks.load(cell.task.name)
        assert issubclass(found, Task)
        return found(cell.recipe, self._directory)

    def _look_at(self, cell: Cell, name: str) -> TaskFacts:
        task = self._task(cell)
        levels = task.at_levels()
        tests = [level.examples("test") for level in levels]
        test = tests[-1]
        self._examples[name] = slice_batch(test, 0, 2)
        whole = _whole(test)
        others: Mapping[float, Task] = task.at_lengths(LENGTH_FACTORS)
        lengths = {}
        for factor, other in {**others, **({1.0: task} if others else {})}.items():
            examples = test if factor == 1 else other.examples("test")
            count = len(next(iter(examples.values())))
            lengths[factor] = other.tokens(examples) // count, count
        return TaskFacts(
            fingerprint(*(level.examples("valid") for level in levels), *tests),
            tuple(shortcut_estimates(*both) for both in zip(levels, tests, strict=True)),
            tuple(max((one[0].numel() for one in _whole(each)), default=0) for each in tests),
            len(whole) == len(test),
            lengths,
        )

    def _build(self, cell: Cell) -> ModelFacts:
        self.task(cell)
        task = self._task(cell)
        model, slots = assemble(cell, task, self._variants)
        tested = count_parameters(slots.tested)
        rest = count_parameters([model]) - tested
        if cell.profile.time_limit > RECOUNTED:
            return ModelFacts(tested, rest, None, None)
        with torch.random.fork_rng(devices=[]):
            flops = count_training_flops(task, model)
            with torch.no_grad():
                metrics = task.evaluate(model.eval(), self._examples[self._name(cell)])
        return ModelFacts(tested, rest, flops, frozenset(metrics))


def _whole(batch: Batch) -> list[torch.Tensor]:
    """The parts of a batch that hold integers, among them its labels."""
    return [one for one in batch.values() if not one.is_floating_point()]
