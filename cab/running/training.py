"""The one training loop: optimiser and schedule of the recipe, seeded batches, validation.

A task with levels is trained on the easiest first; the others join as training goes on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from cab.attention import Attention
from cab.backbones.weight_decay import undecayed
from cab.records.fields import LARGEST
from cab.records.store import CurvePoint, Estimate
from cab.running.awake import awake
from cab.running.batches import batches_ahead, drawn_ahead, training_batches
from cab.running.learning import training_loss
from cab.running.optimisation import KeptWeights, optimisation
from cab.seeding import generator
from cab.task import Batch, Recipe, Task, slice_batch

CURVE_POINTS = 50
"""How many losses a curve keeps, at most."""

Report = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class DivergedError(Exception):
    """The loss or a metric stopped being finite, or is larger than a record holds."""


@dataclass
class Trained:
    """What training did: the curve, validation at each level, seconds in steps, tokens seen.

    data_seconds are those of `seconds` in which the loop waited for a batch.
    """

    curve: list[CurvePoint] = field(default_factory=list)
    levels: list[dict[str, Estimate]] = field(default_factory=list)
    seconds: float = 0.0
    data_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    tokens: int = 0

    @property
    def valid(self) -> dict[str, Estimate]:
        """The last validation, averaged over the levels."""
        return over_levels(self.levels)


def train(
    task: Task,
    model: nn.Module,
    accelerator: Accelerator,
    seed: int,
    report: Report,
    ahead: int | None = None,
) -> Trained:
    """Train a model by the task's recipe; batches depend on task and seed, not on the variant.

    Of several processes each draws the whole batch and learns from its share; losses and
    gradients are means over the whole.

    Args:
        ahead: how many batches a thread draws ahead, which changes no result; by default what
            suits the device.

    Raises:
        DivergedError: the loss is no longer finite, with the step.
        CabError: an attention names a parameter without weight decay that it does not have.
    """
    recipe = task.recipe.train
    optimizer, schedule = optimisation(recipe, parameter_groups(model))
    kept = KeptWeights(task)
    attentions, parameters = _attentions(model), list(model.parameters())
    model, optimizer = accelerator.prepare(model, optimizer)
    levels = task.at_levels()
    valid = [level.examples("valid") for level in levels]
    source = training_batches(
        levels, generator(task.card.name, task.card.version, "train", seed), accelerator
    )
    ahead = batches_ahead(accelerator.device) if ahead is None else ahead
    result = Trained()
    points = curve_steps(task.recipe)
    losses: list[torch.Tensor] = []

    def validate() -> list[dict[str, Estimate]]:
        return [
            evaluate(each, model, examples, accelerator)
            for each, examples in zip(levels, valid, strict=True)
        ]

    model.train()
    with (
        closing(drawn_ahead(source, ahead)) as batches,
        training_loss(model, recipe, accelerator.device) as loss_of,
    ):
        for step in range(1, recipe.steps + 1):
            started = awake()
            drawn = next(batches)
            result.data_seconds += awake() - started
            part = drawn.part
            loss = loss_of(drawn.level, _to_device(drawn.batch, accelerator))
            optimizer.zero_grad()
            total = loss + _auxiliary_loss(attentions)
            # Gradients are averaged over processes, and the shares may have unequal parts.
            accelerator.backward(
                total if part == 1 else total * (part * accelerator.num_processes)
            )
            if recipe.gradient_clip:
                accelerator.clip_grad_norm_(parameters, recipe.gradient_clip)
            optimizer.step()
            schedule.step()
            _after_step(attentions)
            losses.append(loss.detach() * part)
            result.tokens += drawn.tokens
            measure = points.get(step, False)
            # Reading the loss waits for the device, so it is read once per curve point.
            mean = None
            if step in points:
                mean = accelerator.reduce(torch.stack(losses).mean(), "sum").item()
            result.seconds += awake() - started
            if mean is not None:
                if not abs(mean) <= LARGEST:
                    raise DivergedError(f"the training loss was {_too_large(mean)} by step {step}")
                losses.clear()
                if measure:
                    started = awake()
                    result.levels = validate()
                    kept.note(accelerator.unwrap_model(model), result.valid)
                    if step == recipe.steps and kept.restore(accelerator.unwrap_model(model)):
                        result.levels = validate()
                    model.train()
                    result.evaluation_seconds += awake() - started
                values = {k: one.value for k, one in result.valid.items()} if measure else {}
                result.curve.append(CurvePoint(step=step, loss=mean, valid=values))
            report(step, recipe.steps)
    return result


def over_levels(levels: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """The mean of each metric over the levels of a task, which weigh the same."""
    if len(levels) < 2:
        return dict(levels[0]) if levels else {}
    return {name: Estimate.mean([level[name] for level in levels]) for name in levels[0]}


def curve_steps(recipe: Recipe) -> dict[int, bool]:
    """The steps at which the curve has a point, and whether validation is measured there."""
    last = recipe.train.steps
    every = math.ceil(last / CURVE_POINTS)
    evaluate_every = math.ceil(last / recipe.evaluations)
    measured = {*range(evaluate_every, last + 1, evaluate_every), last}
    return {step: step in measured for step in sorted({*range(every, last + 1, every), *measured})}


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return the optimiser's groups: parameters with weight decay, and those without.

    Vectors and scalars (biases, norms, decay rates, gates) take none in any network, and no
    parameter does that an attention exempts by `no_weight_decay`.

    Raises:
        CabError: an attention names a parameter that it does not have.
    """
    apart = {id(p) for attention in _attentions(model) for p in undecayed(attention)}
    apart |= {id(p) for p in model.parameters() if p.ndim < 2}
    own = list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": [p for p in own if id(p) not in apart]}]
    if apart:
        groups.append({"params": [p for p in own if id(p) in apart], "weight_decay": 0.0})
    return groups


@torch.no_grad()
def evaluate(
    task: Task, model: nn.Module, examples: Batch, accelerator: Accelerator
) -> dict[str, Estimate]:
    """Measure a model on examples, in batches; return each metric's mean and standard error.

    Raises:
        DivergedError: a metric is not finite, or larger than a record holds.
    """
    model = accelerator.unwrap_model(model).eval()
    count, size = len(next(iter(examples.values()))), task.recipe.evaluation_batch
    values: dict[str, list[float]] = {}
    for start in range(0, count, size):
        batch = _to_device(slice_batch(examples, start, start + size), accelerator)
        for name, each in task.evaluate(model, batch).items():
            values.setdefault(name, []).extend(each.double().cpu().tolist())
    for name, numbers in values.items():
        for number in numbers:
            if not abs(number) <= LARGEST:
                raise DivergedError(f"the metric {name} is {_too_large(number)}")
    return {name: Estimate.of(numbers) for name, numbers in values.items()}


def _too_large(number: float) -> str:
    return f"larger than {LARGEST:g}" if math.isfinite(number) else "not finite"


def _auxiliary_loss(attentions: Sequence[Attention]) -> torch.Tensor | float:
    """Sum what the attentions add to the task's loss."""
    own = [attention.auxiliary_loss() for attention in attentions]
    return sum((loss for loss in own if loss is not None), 0.0)


@torch.no_grad()
def _after_step(attentions: Sequence[Attention]) -> None:
    for attention in attentions:
        attention.after_step()


def _attentions(model: nn.Module) -> list[Attention]:
    return [module for module in model.modules() if isinstance(module, Attention)]


def _to_device(batch: Batch, accelerator: Accelerator) -> Batch:
    # A copy from page-locked memory, where training batches for CUDA are, does not wait.
    to = accelerator.device
    return {name: value.to(to, non_blocking=True) for name, value in batch.items()}
