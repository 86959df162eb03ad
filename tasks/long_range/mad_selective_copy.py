"""Selective copying in MAD's own size: the task of `selective-copy`, at 256 tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from numpy.random import RandomState
from torch import Tensor

from cab.backbones.decoder import DecoderConfig
from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import IGNORED, LENGTH_FACTORS, Batch, Recipe, Split, Task, Training
from cab.tasks.long_range.selective_copy import SelectiveCopy
from cab.tasks.retrieval import _mad


@dataclass(frozen=True)
class MadScattered:
    """Sequences of `length` that hold `tokens` to copy, each one of V - 2 symbols.

    The vocabulary V counts the blank, V - 2, and the copy token, V - 1, too. `published` selects
    the generator of the paper's code.
    """

    length: int
    tokens: int
    vocabulary: int
    published: bool = False

    def __post_init__(self) -> None:
        if self.length <= 2 * self.tokens + 1 or self.tokens < 1 or self.vocabulary < 4:
            raise ValueError("mad-selective-copy needs length > 2 tokens + 1 and vocabulary >= 4")


def generate(
    params: MadScattered, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
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


def _recipe(params: MadScattered, width: Width, training: Training, examples: int) -> Recipe:
    model = DecoderConfig(width, vocabulary=params.vocabulary, length=params.length)
    return Recipe(params, model, training, examples, examples)


PAPER_WIDTH = Width(dim=128, heads=1, layers=2, short_convolution=3)
PAPER_TRAINING = Training(20_000, 128, 5e-4, weight_decay=0.1)
"""200 epochs of 12,800 examples; its grid has three learning rates and two weight decays."""


@register_task(
    name="mad-selective-copy",
    domain="long_range",
    pattern="cs",
    summary="copy 8 symbols that are scattered among 79 blanks, in order",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.07142857142857142,
    version=1,
    length="96 tokens",
    source="Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv "
    "2403.17844); in quick fewer symbols in fewer tokens",
    licence="generated",
    controls={"window": {"window": 16}},
)
class MadSelectiveCopy(SelectiveCopy):
    """The loss and metric of `selective-copy`, with MAD's tokens and learned positions."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            MadScattered(length=16, tokens=4, vocabulary=8),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            MadScattered(length=96, tokens=8, vocabulary=16),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(800, 32, 4e-3),
            500,
        ),
        "standard": _recipe(
            MadScattered(length=256, tokens=16, vocabulary=16), PAPER_WIDTH, PAPER_TRAINING, 1280
        ),
        "full": _recipe(
            MadScattered(length=256, tokens=16, vocabulary=16, published=True),
            PAPER_WIDTH,
            PAPER_TRAINING,
            1280,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: MadScattered = self.recipe.data
        if not params.published:
            inputs, targets = generate(params, count, generator)
            return {"inputs": inputs, "targets": targets}
        # The paper takes the blanks from numpy's global generator; this one is their own.
        blanks = RandomState(int(torch.randint(2**32, (), generator=generator)))
        instance = partial(
            _mad.selective_copy,
            blanks_rng=blanks,
            length=params.length,
            tokens=params.tokens,
            vocabulary=params.vocabulary,
        )
        inputs, targets = _mad.draw_published(instance, count, generator)
        return {"inputs": inputs, "targets": targets}

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, Task]:
        """Return none, since its positions are learned."""
        return {}
