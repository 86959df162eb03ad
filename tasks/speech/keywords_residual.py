"""The words of `keywords` as spectrograms, classified by a residual network."""

import torch
from torch import nn

from cab.backbones.residual import Residual, ResidualConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.speech._recordings import BANDS, WORDS_IN_ALL, Hearing
from cab.tasks.speech._single import Window
from cab.tasks.speech.keywords import Keywords

MERGED = 2
"""Neighbouring mel bands that make a row of the picture."""


def _recipe(window: Window, width: Width, training: Training, valid: int, test: int) -> Recipe:
    model = ResidualConfig(width, grid=(BANDS // MERGED, window.tokens), classes=WORDS_IN_ALL)
    return Recipe(window, model, training, valid, test)


@register_task(
    name="keywords-residual",
    domain="speech",
    pattern="ns",
    summary="recognise one of ten words from its spectrogram, with a residual network",
    backbone="residual",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=2,
    length="480 cells: 20 bands x 24 frames of 50 ms",
    grid=True,
    slot="feature_map",
    source="the voice of `keywords`; log mel, two bands and four frames a pixel",
    licence="generated",
    diagnostic=("quick",),
)
class KeywordsResidual(Keywords):
    """Convolutions recognise words without attention, so the task measures what a gate adds."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Window(14, Hearing(stack=4, longest=12)),
            Width(dim=8, heads=2, layers=1),
            Training(4, 8, 3e-3),
            valid=20,
            test=20,
        ),
        "quick": _recipe(
            Window(24, Hearing(stack=4, longest=12)),
            Width(dim=16, heads=2, layers=2),
            Training(700, 16, 3e-3),
            valid=200,
            test=400,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Turn the tokens of `keywords` into pixels, bands by rows and time by columns."""
        batch = super().draw(split, count, generator)
        frames = batch["inputs"].unflatten(2, (-1, BANDS // MERGED, MERGED))
        picture = frames.mean(dim=(2, 4)).mT
        return {**batch, "inputs": picture.flatten(1)[..., None]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the residual network."""
        return Residual(self.recipe.model, slots)
