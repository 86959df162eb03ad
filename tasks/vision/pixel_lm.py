"""Predict the pixels of a sequence of images in which one is repeated."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._images import SIDE, digit_images

PIXELS = SIDE * SIDE
"""Pixels of a picture."""


@dataclass(frozen=True)
class Film:
    """`pictures` different ones in a row, then one of them again; `levels` of grey."""

    pictures: int
    levels: int

    @property
    def length(self) -> int:
        """Pixels per film."""
        return (self.pictures + 1) * PIXELS


def _recipe(params: Film, width: Width, training: Training, examples: int) -> Recipe:
    model = DecoderConfig(width, vocabulary=params.levels + 1, length=params.length)
    return Recipe(params, model, training, examples // 2, examples, evaluation_batch=100)


@register_task(
    name="pixel-lm",
    domain="vision",
    pattern="cs",
    summary="predict the pixels of a handwritten digit that was shown before (bits per pixel)",
    backbone="decoder",
    metric="bits_per_pixel",
    higher_is_better=False,
    chance=2.321928,
    version=2,
    length="192 pixels",
    imports=("sklearn.datasets",),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn, in five levels of grey and raster order",
    licence="CC BY 4.0",
    diagnostic=("quick",),
    controls={"window": {}},
    certificate={
        "quick": {
            "margin": 0.5,
            "seeds": 3,
            "measured": {
                "softmax": 0.113,
                "none": 1.151,
                "mean": 1.067,
                "window": 0.948,
                "two neighbours": 1.411,
            },
        }
    },
)
class PixelLm(Task):
    """Two different images, then one of them again, which its first rows identify.

    Diagnostic: bits per pixel have no upper bound, so they are shown but not scored; `few-shot` is
    the scored task on these images.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Film(pictures=1, levels=3), Width(dim=16, heads=2, layers=1), Training(4, 8, 3e-3), 20
        ),
        "quick": _recipe(
            Film(pictures=2, levels=5),
            Width(dim=64, heads=2, layers=2, short_convolution=3),
            Training(900, 16, 5e-3),
            300,
        ),
    }

    def _levels(self, split: Split) -> Tensor:
        """The images of a split as grey levels (K, 8, 8)."""
        return (digit_images()[split][0] * (self.recipe.data.levels - 1)).long()

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw films; the input is the film one pixel later, after a token that starts it."""
        params, images = self.recipe.data, self._levels(split)
        shuffled = torch.rand(count, len(images), generator=generator).argsort(dim=1)
        shown = shuffled[:, : params.pictures]
        again = shown.gather(1, choose(count, params.pictures, generator)[:, None])
        pixels = images[torch.cat((shown, again), dim=1)].flatten(1)
        return {
            "inputs": F.pad(pixels[:, :-1], (1, 0), value=params.levels),
            "targets": pixels,
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per pixel, over the whole film."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return bits per pixel of the picture that comes again, and of those that are new."""
        nats = F.cross_entropy(model(batch["inputs"]).mT, batch["targets"], reduction="none")
        bits = nats / math.log(2)
        return {
            "bits_per_pixel": bits[:, -PIXELS:].mean(dim=1),
            "new_bits_per_pixel": bits[:, :-PIXELS].mean(dim=1),
        }

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return bits per pixel of the training images' counts given left and upper neighbour.

        Beyond its edges a picture counts as black; one is added to every count.
        """
        levels = self.recipe.data.levels
        counts = torch.zeros(levels**3, dtype=torch.long)
        known = self._levels("train")
        counts += torch.bincount(_with_neighbours(known, levels).flatten(), minlength=levels**3)
        share = (counts + 1) / (counts + 1).view(-1, levels).sum(dim=1).repeat_interleave(levels)
        again = batch["targets"][:, -PIXELS:].view(-1, SIDE, SIDE)
        bits = -share.log2()[_with_neighbours(again, levels)]
        return {"two neighbours": bits.mean(dim=(1, 2))}


def _with_neighbours(images: Tensor, levels: int) -> Tensor:
    """Number each pixel (K, 8, 8) together with those to its left and above it."""
    left, above = F.pad(images, (1, 0))[:, :, :-1], F.pad(images, (0, 0, 1, 0))[:, :-1]
    return (left * levels + above) * levels + images
