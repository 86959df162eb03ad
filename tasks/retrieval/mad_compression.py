"""Compression of MAD: reconstruct a sequence from the state of the last token."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from cab.backbones.compressor import Compressor, CompressorConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import share
from cab.tasks.retrieval import _mad
from cab.tasks.retrieval._labelled import Labelled, most_frequent


@dataclass(frozen=True)
class Symbols:
    """Sequences of `length`: V - 1 symbols, and the last token, V - 1, after which all is asked.

    published asks for that last token too, as the paper's code does.
    """

    length: int
    vocabulary: int
    published: bool = False

    def __post_init__(self) -> None:
        if self.length < 2 or self.vocabulary < 3:
            raise ValueError("compression needs length >= 2 and vocabulary >= 3")


def generate(params: Symbols, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length); symbols are uniform and all are asked."""
    shape = (count, params.length)
    inputs = torch.randint(params.vocabulary - 1, shape, generator=generator)
    inputs[:, -1] = params.vocabulary - 1
    labels = inputs.clone()
    labels[:, -1] = IGNORED
    return inputs, labels


def _recipe(params: Symbols, width: Width, training: Training, examples: int) -> Recipe:
    model = CompressorConfig(width, vocabulary=params.vocabulary, length=params.length)
    return Recipe(params, model, training, examples, examples)


PAPER_WIDTH = Width(dim=128, heads=1, layers=2, short_convolution=3)
PAPER_TRAINING = Training(20_000, 128, 5e-4, weight_decay=0.1)
"""200 epochs of 12,800 examples; its grid has three learning rates and two weight decays."""
STANDARD = Symbols(length=32, vocabulary=16)


@register_task(
    name="mad-compression",
    domain="retrieval",
    pattern="cs",
    summary="read 15 symbols back from the state of the token after them",
    backbone="compressor",
    metric="accuracy",
    higher_is_better=True,
    chance=0.06666666666666667,
    version=1,
    length="16 tokens",
    source="Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv "
    "2403.17844), without its last label, which is always the same; in quick half as long",
    licence="generated",
    controls={"window": {"window": 4}},
)
class MadCompression(Labelled):
    """Splits are draws from 15^15 sequences."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Symbols(length=8, vocabulary=6),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Symbols(length=16, vocabulary=16),
            Width(dim=64, heads=4, layers=2, expansion=4, short_convolution=3),
            Training(1200, 64, 4e-3),
            500,
        ),
        "standard": _recipe(STANDARD, PAPER_WIDTH, PAPER_TRAINING, 1280),
        "full": _recipe(replace(STANDARD, published=True), PAPER_WIDTH, PAPER_TRAINING, 1280),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Symbols = self.recipe.data
        if params.published:
            instance = partial(
                _mad.compression, length=params.length, vocabulary=params.vocabulary
            )
            inputs, targets = _mad.draw_published(instance, count, generator)
        else:
            inputs, targets = generate(params, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the auto-encoder."""
        return Compressor(self.recipe.model, slots)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what each example's most frequent symbol would score as every answer."""
        targets = batch["targets"]
        asked = targets != IGNORED
        guess = most_frequent(targets, asked, self.recipe.data.vocabulary)
        return {"most frequent": share(targets == guess, asked)}
