"""Shared parts of the generated tasks with a decoder: labels at some positions.

Shapes: B examples, N tokens, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.task import IGNORED, Batch, Recipe, Training
from cab.tasks._labels import LabelledTask


def recipe(
    params: Any, width: Width, training: Training, examples: int, *, length: int, vocabulary: int
) -> Recipe:
    """Return a recipe of the decoder with as many validation as test examples."""
    model = DecoderConfig(width, vocabulary=vocabulary, length=length)
    return Recipe(params, model, training, valid_examples=examples, test_examples=examples)


def most_frequent(tokens: Tensor, counted: Tensor, symbols: int) -> Tensor:
    """Return each example's most frequent token among those counted: (B, N), (B, N) -> (B, 1)."""
    counts = torch.zeros(len(tokens), symbols, dtype=torch.long)
    counts.scatter_add_(1, tokens.clamp(0, symbols - 1), counted.long())
    return counts.argmax(dim=1, keepdim=True)


class Labelled(LabelledTask):
    """inputs (B, N) are tokens of a decoder.

    A further metric is `exact`, 1 if all labels of an example are right.
    """

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's labels that are right, and whether all are."""
        answers, targets = self.logits(model, batch).argmax(dim=-1), batch["targets"]
        return {
            "accuracy": self.score(answers, batch),
            "exact": ((answers == targets) | (targets == IGNORED)).all(dim=1).float(),
        }
