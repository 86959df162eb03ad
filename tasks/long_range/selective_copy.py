"""Selective copying: repeat, in order, the tokens that are scattered among blanks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import LENGTH_FACTORS, LONGEST, Batch, Recipe, Split, Task, Training

IGNORED = -100
"""The label of positions that ask nothing."""


@dataclass(frozen=True)
class Scattered:
    """Sequences of `length` that hold `tokens` to copy, each one of V - 2 symbols.

    The vocabulary V counts the blank, V - 2, and the copy token, V - 1, too.
    """

    length: int
    tokens: int
    vocabulary: int

    def __post_init__(self) -> None:
        if self.length <= 2 * self.tokens + 1 or self.tokens < 1 or self.vocabulary < 4:
            raise ValueError("selective-copy needs length > 2 tokens + 1 and vocabulary >= 4")


def generate(params: Scattered, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    Symbols are drawn with replacement, and each blank is put before a random one of them. The copy
    token follows the last symbol, then as many blanks as there are symbols. The labels of these
    blanks are the symbols, in order; the model does not read its answers.
    """
    tokens, blank, copy = params.tokens, params.vocabulary - 2, params.vocabulary - 1
    blanks = params.length - 2 * tokens - 1
    chosen = torch.randint(blank, (count, tokens), generator=generator)
    before = torch.randint(tokens, (count, blanks), generator=generator)
    rank = torch.arange(tokens)
    place = rank + (before[:, :, None] <= rank).sum(dim=1)
    inputs = torch.full((count, params.length), blank).scatter_(1, place, chosen)
    inputs[:, tokens + blanks] = copy
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -tokens:] = chosen
    return inputs, labels


def _recipe(params: Scattered, width: Width, training: Training, examples: int) -> Recipe:
    model = DecoderConfig(
        width,
        vocabulary=params.vocabulary,
        length=LONGEST * params.length,
        positions=0.03,
    )
    return Recipe(params, model, training, examples, examples)


@register_task(
    name="selective-copy",
    domain="long_range",
    pattern="cs",
    summary="copy 12 symbols that are scattered among 23 blanks, in order",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.07142857142857142,
    version=3,
    length="48 tokens",
    source="selective copying as in Mechanistic Design and Scaling of Hybrid Architectures (Poli "
    "et al., 2024, arXiv 2403.17844), 48 tokens instead of 256, 12 of them symbols",
    licence="generated",
    controls={"window": {"window": 8}},
    certificate={
        "quick": {
            "margin": 0.25,
            "seeds": 3,
            "measured": {
                "softmax": 0.99,
                "none": 0.07,
                "mean": 0.541,
                "window (window=8)": 0.672,
                "most frequent": 0.225,
            },
        }
    },
)
class SelectiveCopy(Task):
    """The task of MAD with an explicit generator; splits are drawn from 14^12 or more lists."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Scattered(length=16, tokens=4, vocabulary=8),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Scattered(length=48, tokens=12, vocabulary=16),
            Width(dim=64, heads=4, layers=3, short_convolution=3),
            Training(1400, 32, 4e-3),
            500,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy of the copies."""
        logits = model(batch["inputs"])
        return F.cross_entropy(logits.mT, batch["targets"], ignore_index=IGNORED)

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, Task]:
        """Return the task at other lengths, with fewer symbols where they would not fit."""
        params: Scattered = self.recipe.data
        tasks = {}
        for factor in factors:
            length = int(params.length * factor)
            tokens = min(params.tokens, (length - 2) // 2)
            tasks[factor] = self.stretched(factor, replace(params, length=length, tokens=tokens))
        return tasks

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's symbols that are copied correctly."""
        tokens = self.recipe.data.tokens
        copies = model(batch["inputs"])[:, -tokens:].argmax(dim=-1)
        return {"accuracy": (copies == batch["targets"][:, -tokens:]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of each example's most frequent symbol as every copy."""
        params: Scattered = self.recipe.data
        copies = batch["targets"][:, -params.tokens :]
        guess = F.one_hot(copies, params.vocabulary).sum(dim=1).argmax(dim=1, keepdim=True)
        return {"most frequent": (guess == copies).float().mean(dim=1)}
