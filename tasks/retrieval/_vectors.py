"""Tasks on a memory of labelled vectors, whose queries are answered by the label of one of them.

Shapes: B examples, K vectors and as many queries, V classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.context_reader import ContextReader, ContextReaderConfig
from cab.backbones.slots import Slots, Width
from cab.task import Batch, Recipe, Training
from cab.tasks._labels import LabelledTask


class Sized(Protocol):
    """Parameters that say how many dimensions the vectors have, and how many labels there are."""

    @property
    def dim(self) -> int:
        """The dimensions of a vector."""

    @property
    def classes(self) -> int:
        """The number of different labels."""


def recipe(
    levels: Sequence[Sized],
    length: int,
    width: Width,
    training: Training,
    valid: int,
    test: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    """Size the network for the hardest level, the last, which has `length` vectors."""
    top = levels[-1]
    model = ContextReaderConfig(
        width,
        context_features=top.dim + top.classes,
        query_features=top.dim,
        outputs=top.classes,
        length=length,
    )
    return Recipe(top, model, training, valid, test, levels=tuple(levels), rates=rates)


class VectorMemory(LabelledTask):
    """The context is each vector beside its label, one-hot; the inputs are the queries."""

    def batch(self, vectors: Tensor, drawn: Mapping[str, Tensor]) -> Batch:
        """Put vectors (B, K, dim) together with the drawn `labels`, `inputs` and `targets`."""
        params: Any = self.recipe.data
        labels = F.one_hot(drawn["labels"], params.classes).float()
        context = torch.cat((vectors, labels), dim=-1)
        return {"context": context, "inputs": drawn["inputs"], "targets": drawn["targets"]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the context reader."""
        return ContextReader(self.recipe.model, slots)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each query (B, K, V)."""
        return model(batch["context"], batch["inputs"])

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the most frequent label of each memory scores as every answer."""
        counts = batch["context"][..., self.recipe.data.dim :].sum(dim=1)
        guess = counts.argmax(dim=1, keepdim=True)
        return {"most frequent": self.score(guess, batch)}
