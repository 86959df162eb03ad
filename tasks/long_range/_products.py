"""State tracking: the products of all prefixes of a sequence of group elements.

Shapes: B examples, N elements, G the size of the group.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.task import Batch, Recipe, Split, Task, Training

SCORED = 4
"""The last length / SCORED products of a sequence are scored; all are trained."""


@dataclass(frozen=True)
class Word:
    """Sequences of `length` elements of a group, each uniform."""

    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("a sequence of group elements needs length >= 1")


def prefix_products(elements: Tensor, table: Tensor) -> Tensor:
    """Return the product of each prefix: (B, N), (G, G) -> (B, N).

    table[a, b] is the product of a, which stands before, and b.
    """
    state, products = elements[:, 0], [elements[:, 0]]
    for element in elements[:, 1:].unbind(dim=1):
        state = table[state, element]
        products.append(state)
    return torch.stack(products, dim=1)


def ladder(
    lengths: Sequence[int],
    group: int,
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    """Return a recipe with a level for each length; the decoder has no positions."""
    levels = tuple(Word(length) for length in lengths)
    model = DecoderConfig(width, vocabulary=group, length=lengths[-1], positions=False)
    return Recipe(levels[-1], model, training, examples, examples, levels=levels, rates=rates)


class Products(Task):
    """inputs and targets (B, N): elements, and the products of the elements up to each."""

    table: Tensor
    """The group's multiplication table (G, G)."""

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        shape = (count, self.recipe.data.length)
        inputs = torch.randint(len(self.table), shape, generator=generator)
        return {"inputs": inputs, "targets": prefix_products(inputs, self.table)}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy at every position."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of the products in the last quarter that are right."""
        return {"accuracy": self._share(model(batch["inputs"]).argmax(dim=-1), batch)}

    def _share(self, answers: Tensor, batch: Batch) -> Tensor:
        scored = math.ceil(self.recipe.data.length / SCORED)
        return (answers == batch["targets"])[:, -scored:].float().mean(dim=1)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scores of a constant and of the product of the last two elements."""
        inputs = batch["inputs"]
        last = inputs.clone()
        last[:, 1:] = self.table[inputs[:, :-1], inputs[:, 1:]]
        return {
            "identity": self._share(torch.zeros_like(inputs), batch),
            "last two": self._share(last, batch),
        }
