"""Facts of a cell that need no training: sizes, operations, shortcuts, a hash of its examples."""

import hashlib
from collections import Counter
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cab.records.store import Estimate
from cab.seeding import generator
from cab.task import Batch, Task, level_at


def count_parameters(modules: list[Any]) -> int:
    """Count the parameters of modules."""
    return sum(p.numel() for module in modules for p in module.parameters())


def count_training_flops(task: Task, model: torch.nn.Module) -> int:
    """Count the matrix products of a training step on two examples, and scale to all of training.

    A task with levels is counted at each of them, as often as training visits it.
    """
    return training_work(task, model)[0]


def training_work(task: Task, model: torch.nn.Module, device: str = "cpu") -> tuple[int, int]:
    """Return the operations of all training steps, and about how many tokens they read.

    Args:
        device: where the model is; on `meta` nothing is computed, whatever its size.
    """
    recipe, levels, flops, tokens = task.recipe.train, task.at_levels(), 0, 0
    visits = Counter(level_at(s, recipe.steps, len(levels)) for s in range(1, recipe.steps + 1))
    for number, level in enumerate(levels):
        drawn = level.draw("train", 2, generator("flops"))
        batch = {name: value.to(device) for name, value in drawn.items()}
        # The fused CPU kernel has no formula of its own, so it is unfolded for the count.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            level.loss(model, batch).backward()
        model.zero_grad(set_to_none=True)
        flops += int(counter.get_total_flops()) * recipe.batch_size // 2 * visits[number]
        tokens += level.tokens(drawn) * recipe.batch_size // 2 * visits[number]
    return flops, tokens


def shortcut_estimates(task: Task, examples: Batch) -> dict[str, Estimate]:
    """What untrained predictors score on examples of a task."""
    found = task.shortcuts(examples).items()
    return {name: Estimate.of(values.double().tolist()) for name, values in found}


def fingerprint(*batches: Batch) -> str:
    """Hash examples, so that a changed data set or generator shows."""
    digest = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            digest.update(name.encode() + str(tuple(batch[name].shape)).encode())
            digest.update(batch[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
