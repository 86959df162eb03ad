"""Shared parts of the generated tasks with a decoder: labels at some positions.

Shapes: B examples, N tokens, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.task import Batch, Recipe, Task, Training

IGNORED = -100
"""The label of positions that ask nothing."""


def recipe(
    params: Any, width: Width, training: Training, examples: int, *, length: int, vocabulary: int
) -> Recipe:
    """Return a recipe of the decoder with as many validation as test examples."""
    model = DecoderConfig(width, vocabulary=vocabulary, length=length)
    return Recipe(params, model, training, valid_examples=examples, test_examples=examples)


def share(right: Tensor, asked: Tensor) -> Tensor:
    """Return the share of each example's labels that are right: (B, N), (B, N) -> (B,)."""
    return (right & asked).sum(dim=1) / asked.sum(dim=1)


def most_frequent(tokens: Tensor, counted: Tensor, symbols: int) -> Tensor:
    """Return each example's most frequent token among those counted: (B, N), (B, N) -> (B, 1)."""
    counts = torch.zeros(len(tokens), symbols, dtype=torch.long)
    counts.scatter_add_(1, tokens.clamp(0, symbols - 1), counted.long())
    return counts.argmax(dim=1, keepdim=True)


class Labelled(Task):
    """inputs and targets (B, N); targets are IGNORED at positions without a label.

    Metrics: `accuracy`, the share of an example's labels that are right, and `exact`, 1 if all of
    them are.
    """

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy at the labels."""
        logits = model(batch["inputs"])
        return F.cross_entropy(logits.mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's labels that are right, and whether all are."""
        asked = batch["targets"] != IGNORED
        right = model(batch["inputs"]).argmax(dim=-1) == batch["targets"]
        return {
            "accuracy": share(right, asked),
            "exact": (right | ~asked).all(dim=1).float(),
        }
