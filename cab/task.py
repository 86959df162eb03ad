"""The interface of a task.

A task draws batches from its data with an explicit generator, builds a backbone whose attention
layers CAB fills with a variant, and measures one value per example. Everything that changes a
result is in the profile's `Recipe`, which is hashed into the key of every cell.
"""

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from cab.backbones.slots import Slots
from cab.seeding import generator
from cab.taxonomy import TaskCard

Batch = dict[str, Tensor]
"""Named tensors whose first dimension is the example."""

Split = Literal["train", "valid", "test"]
Precision = Literal["float32", "bf16"]
Activations = Literal["float32", "int8"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

IGNORED = -100
"""The label of positions without a target, in every task; PyTorch's `ignore_index`."""

LENGTH_FACTORS = (0.25, 0.5, 2.0, 4.0)
"""Multiples of the training length at which a trained model is also tested, where a task allows
it."""
LONGEST = 4
"""The largest multiple: the backbone of such a task must accept this length."""

PROTOCOL = 2
"""The version of training and testing, a part of every recipe: raise it when a change of the loop
changes results. 2 takes weight decay off vectors and trains on levels."""
OPTIONS = {"precision": "float32", "compile": False, "activations": "float32"}
"""The options of training that no recipe of CAB uses, with their defaults."""

AVERAGED = 5
"""Of so many validations the weights are averaged, where a recipe asks for their mean."""
GROWTH = 0.6
"""The share of the training steps after which all levels are open. Levels open one after another,
evenly spread over these steps, and training visits those that are open in turn."""


@dataclasses.dataclass(frozen=True)
class Training:
    """How a cell is trained: AdamW with a one-cycle schedule, the same for every variant.

    precision: bf16 runs the network and its gradients in bfloat16 where PyTorch's autocast does;
    weights, the optimiser, losses and all tests stay in float32. compile: trains through
    `torch.compile`. activations: int8 keeps those for the backward pass in 8 bits.
    """

    may_be_zero: ClassVar[bool] = False
    """Whether warm-up and clipping may be left out."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    gradient_clip: float = 1.0
    precision: Precision = "float32"
    compile: bool = False
    activations: Activations = "float32"

    def __post_init__(self) -> None:
        for name, kinds in (("precision", Precision), ("activations", Activations)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}")
        if self.activations != "float32" and (self.precision != "float32" or self.compile):
            raise ValueError("activations in int8 need precision float32 and no compilation")
        if not (1 <= self.steps < 2**31 and 1 <= self.batch_size < 2**31):
            raise ValueError("steps and batch_size must be at least 1 and below 2^31")
        if not (self.may_be_zero or 0 < self.warmup < 1):
            raise ValueError("warmup must be a fraction between 0 and 1")
        clips = 0 < self.gradient_clip < math.inf or (self.may_be_zero and not self.gradient_clip)
        if not (0 < self.learning_rate < math.inf and clips):
            raise ValueError("learning_rate and gradient_clip must be numbers above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError("weight_decay must be a number of at least 0")


@dataclasses.dataclass(frozen=True)
class PublishedTraining(Training):
    r"""How a published recipe is trained, where CAB's own recipes use a one-cycle schedule.

    The learning rate rises linearly to `learning_rate` during the warm-up of `warmup` times the
    steps (0 for none; more than 1 never reaches it). After w warm-up steps, step t of T has the
    rate times a factor:

    .. math:: \text{inverse-root: } \sqrt{w / t}, \quad
              \text{linear: } \frac{T - t}{T - w}, \quad
              \text{cosine: } \tfrac12 + \tfrac12 \cos \pi \frac{t - w}{T - w}, \quad
              \text{decay: } \max(d^n, \text{lowest})

    where n is how many times `every` steps have passed after the first `hold` steps, in whole
    numbers; `constant` stays. betas and epsilon are Adam's; a gradient_clip of 0 clips nothing.

    keep says which weights are tested: the last, the best of the validations during training by
    the task's metric, or the mean of those at the last AVERAGED validations.
    """

    may_be_zero: ClassVar[bool] = True

    schedule: Literal["constant", "inverse-root", "linear", "cosine", "decay"] = "constant"
    decay: float = 1.0
    every: int = 1
    hold: int = 0
    lowest: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    keep: Literal["last", "best", "mean"] = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.warmup < math.inf:
            raise ValueError("warmup must be a number of at least 0")
        if self.schedule == "inverse-root" and not self.warmup:
            raise ValueError("the schedule inverse-root needs a warmup above 0")
        if not (0 < self.decay <= 1 and 0 <= self.lowest <= 1):
            raise ValueError("decay must be above 0 and at most 1, lowest from 0 to 1")
        if not (self.every >= 1 and self.hold >= 0):
            raise ValueError("every must be at least 1 and hold at least 0")
        if not (all(0 <= beta < 1 for beta in self.betas) and 0 < self.epsilon < math.inf):
            raise ValueError("betas must be from 0 to below 1, and epsilon above 0")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All settings of a task in one profile that change its result.

    data and model are frozen dataclasses of the task and of its backbone. valid_examples and
    test_examples are counts, of each level; evaluations is how often validation is measured during
    training.

    levels are the settings of the data from the easiest to the hardest, which is `data`; without
    any, the task has one difficulty. rates are the learning rates of which validation chooses one
    for each entry, in increasing order; without any, all entries learn at that of `train`.
    """

    data: Any
    model: Any
    train: Training
    valid_examples: int
    test_examples: int
    evaluation_batch: int = 250
    evaluations: int = 2
    levels: tuple[Any, ...] = ()
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.levels and self.levels[-1] != self.data:
            raise ValueError("the last of levels must be equal to data")
        if list(self.rates) != sorted(set(self.rates)):
            raise ValueError("rates must increase")

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON holds it, for records and keys.

        The protocol and the growth of the levels stand in it, since they change results, too.
        Options of training do if they are not the defaults, which older records do not name.
        """
        values = {**dataclasses.asdict(self), "growth": GROWTH, "protocol": PROTOCOL}
        for name, usual in OPTIONS.items():
            if values["train"][name] == usual:
                del values["train"][name]
        return dict(json.loads(json.dumps(values)))

    def at_rate(self, rate: float) -> "Recipe":
        """Return the recipe with another learning rate."""
        return dataclasses.replace(self, train=dataclasses.replace(self.train, learning_rate=rate))


class Task(ABC):
    """One benchmark task; subclasses register with `@register_task`, which sets `card`.

    Args:
        recipe: one of `recipes`, possibly with changed training settings.
        data_dir: the folder of the files in `card.data`; they are already verified.
    """

    card: ClassVar[TaskCard]
    recipes: ClassVar[Mapping[str, Recipe]]
    level: int | None = None

    def __init__(self, recipe: Recipe, data_dir: Path | None = None) -> None:
        self.recipe = recipe
        self.data_dir = data_dir

    @abstractmethod
    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` examples of a split. No example is in two splits."""

    @abstractmethod
    def build(self, slots: Slots) -> nn.Module:
        """Build the backbone, with its attention taken from `slots`."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the training loss, a scalar."""

    @abstractmethod
    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return metrics, each with one value per example, shape (B,); CAB reports their means."""

    def loss_terms(self, batch: Batch) -> int:
        """Return how many terms the loss of a batch averages, to merge parts of a batch.

        If `targets` holds labels, these are the labels other than IGNORED; otherwise the examples.
        """
        targets = batch.get("targets")
        if targets is None or targets.is_floating_point():
            return len(next(iter(batch.values())))
        return int((targets != IGNORED).sum())

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scored metric of untrained predictors, by name, one value per example."""
        return {}

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, "Task"]:
        """Return this task at other lengths, by multiple of its own; most tasks have none.

        The trained model is tested at these lengths, too. The backbone must be built for LONGEST
        times the training length, with position encodings that are not learned per position.
        """
        return {}

    def at_levels(self) -> tuple["Task", ...]:
        """Return this task at each of its levels, from the easiest; itself where it has none."""
        tasks = []
        for number, data in enumerate(self.recipe.levels, 1):
            recipe = dataclasses.replace(self.recipe, data=data, levels=())
            task = type(self)(recipe, self.data_dir)
            task.level = number
            tasks.append(task)
        return tuple(tasks) or (self,)

    def stretched(self, factor: float, data: Any) -> "Task":
        """Return this task with other data settings, at `factor` times its length.

        It is tested on about as many tokens; the attention scores of a batch take no more memory.
        """
        recipe = dataclasses.replace(
            self.recipe,
            data=data,
            levels=(),
            test_examples=math.ceil(self.recipe.test_examples / factor),
            evaluation_batch=max(1, int(self.recipe.evaluation_batch / max(1.0, factor) ** 2)),
        )
        return type(self)(recipe, self.data_dir)

    def tokens(self, batch: Batch) -> int:
        """Return the number of query tokens in a batch, for throughput."""
        return batch["inputs"].shape[0] * batch["inputs"].shape[1]

    def examples(self, split: Split) -> Batch:
        """Return the fixed examples of validation or test: the same for every variant and seed."""
        count = self.recipe.valid_examples if split == "valid" else self.recipe.test_examples
        level = () if self.level is None else (f"level {self.level}",)
        return self.draw(split, count, generator(self.card.name, self.card.version, split, *level))


def level_names(levels: Sequence[Any]) -> tuple[str, ...]:
    """Name levels by the settings in which they differ, such as `length 32, pairs 8`."""
    values = [dataclasses.asdict(one) for one in levels]
    varied = [
        key for key in (values[0] if values else ()) if len({str(v[key]) for v in values}) > 1
    ]
    return tuple(", ".join(f"{key} {one[key]}" for key in varied) for one in values)


def open_levels(step: int, steps: int, levels: int) -> int:
    """Return how many levels training visits at a step, counted from 1 (see `GROWTH`)."""
    if levels == 1:
        return 1
    return min(levels, 1 + int((step - 1) / (GROWTH * steps) * (levels - 1)))


def level_at(step: int, steps: int, levels: int) -> int:
    """Return the level, from 0, that a step of training draws its batch from."""
    return step % open_levels(step, steps, levels)


def slice_batch(batch: Batch, start: int, stop: int) -> Batch:
    """Return examples start to stop."""
    return {name: value[start:stop] for name, value in batch.items()}


def choose(count: int, population: int, generator: torch.Generator) -> Tensor:
    """Draw indices below `population`, with replacement."""
    return torch.randint(population, (count,), generator=generator)
