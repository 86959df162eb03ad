"""Optimiser, learning-rate schedule and the choice of weights, as a recipe names them."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from cab.records.store import Estimate
from cab.task import AVERAGED, PublishedTraining, Task, Training


def optimisation(
    recipe: Training, groups: list[dict[str, Any]]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and its schedule: one cycle, or what a published recipe names.

    Args:
        recipe: the training of the task.
        groups: the optimiser's parameter groups.
    """
    rate = recipe.learning_rate
    if not isinstance(recipe, PublishedTraining):
        optimiser = torch.optim.AdamW(
            groups, lr=rate, weight_decay=recipe.weight_decay, fused=True
        )
        return optimiser, torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rate, total_steps=recipe.steps + 1, pct_start=recipe.warmup
        )
    optimiser = torch.optim.AdamW(
        groups,
        lr=rate,
        betas=recipe.betas,
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    # The scheduler counts from 0, before the first step.
    return optimiser, torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda before: factor(recipe, before + 1)
    )


def factor(recipe: PublishedTraining, step: int) -> float:
    """Return the learning rate of a step, counted from 1, over `recipe.learning_rate`."""
    warmup = recipe.warmup * recipe.steps
    if step < warmup:
        return step / warmup
    left = max(0, recipe.steps - step) / max(1.0, recipe.steps - warmup)
    if recipe.schedule == "inverse-root":
        return math.sqrt(warmup / step)
    if recipe.schedule == "linear":
        return left
    if recipe.schedule == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    if recipe.schedule == "decay":
        passed = max(0, step - 1 - recipe.hold) // recipe.every
        return max(recipe.decay**passed, recipe.lowest)
    return 1.0


class KeptWeights:
    """The weights that are tested: the last, the best, or a mean (`PublishedTraining.keep`)."""

    def __init__(self, task: Task) -> None:
        train = task.recipe.train
        self._keep = train.keep if isinstance(train, PublishedTraining) else "last"
        self._metric, self._sign = task.card.metric, 1 if task.card.higher_is_better else -1
        self._best = -math.inf
        self._weights: deque[dict[str, torch.Tensor]] = deque(
            maxlen=AVERAGED if self._keep == "mean" else 1
        )

    @torch.no_grad()
    def note(self, model: nn.Module, valid: Mapping[str, Estimate]) -> None:
        """Take note of a validation and, where they may be tested, of the weights."""
        if self._keep == "last":
            return
        value = self._sign * valid[self._metric].value
        if self._keep == "mean" or value > self._best:
            self._best = max(self._best, value)
            self._weights.append({k: v.detach().clone() for k, v in model.state_dict().items()})

    @torch.no_grad()
    def restore(self, model: nn.Module) -> bool:
        """Give the model the weights to test; return whether they can differ from its own.

        Of integers, such as counts of batches, the last are kept.
        """
        if not self._weights:
            return False
        mean = {
            name: torch.stack([one[name] for one in self._weights]).mean(dim=0)
            if value.is_floating_point()
            else value
            for name, value in self._weights[-1].items()
        }
        model.load_state_dict(mean)
        return True
