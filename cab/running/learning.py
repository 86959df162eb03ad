"""The loss of a training step, in the precision of the recipe and compiled where it says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cab.running.low_bits import low_bit_activations
from cab.task import Batch, Task, Training

Loss = Callable[[Task, Batch], Tensor]
"""Called with the level and its batch."""


@contextmanager
def training_loss(model: nn.Module, recipe: Training, device: torch.device) -> Iterator[Loss]:
    """Give the function that training calls for the loss of a batch.

    What the network returns is float32 in both precisions, so that no loss is computed in
    bfloat16. Outside of the function the network is as it was: it is tested in float32, and not
    compiled.
    """
    network = _compiled(model) if recipe.compile else model
    if recipe.activations == "int8":

        def stored_low(task: Task, batch: Batch) -> Tensor:
            with low_bit_activations(model):
                return task.loss(network, batch)

        yield stored_low
        return
    if recipe.precision == "float32":
        yield lambda task, batch: task.loss(network, batch)
        return

    def loss(task: Task, batch: Batch) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return task.loss(network, batch)

    hook = model.register_forward_hook(lambda module, inputs, outputs: _in_float32(outputs))
    try:
        yield loss
    finally:
        hook.remove()


def _compiled(model: nn.Module) -> nn.Module:
    """Return the network that compiles itself when it is called; it has the same weights."""
    import torch._inductor.config as inductor

    inductor.compile_threads = 1  # its own processes would outlive a cell that is killed
    return cast(nn.Module, torch.compile(model))


def _in_float32(outputs: Any) -> Any:
    return pytree.tree_map_only(
        Tensor, lambda one: one.float() if one.is_floating_point() else one, outputs
    )
