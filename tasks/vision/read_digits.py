"""Transcribe a strip of handwritten digits."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._images import SIDE, digit_images, paste

FIRST = 10
"""The token that starts every target; tokens 0 to 9 are the digits."""


@dataclass(frozen=True)
class Strip:
    """`digits` side by side in tokens of `column` pixels' width, `slack` of which are empty."""

    digits: int = 4
    column: int = 2
    slack: int = 4

    @property
    def each(self) -> int:
        """Tokens per digit."""
        return SIDE // self.column

    @property
    def length(self) -> int:
        """Tokens per strip."""
        return self.digits * self.each + self.slack


def _recipe(width: Width, training: Training, examples: int) -> Recipe:
    strip = Strip()
    model = EncoderDecoderConfig(
        width,
        features=SIDE * strip.column,
        vocabulary=11,
        source_length=strip.length,
        target_length=strip.digits,
    )
    return Recipe(strip, model, training, examples, examples)


@register_task(
    name="read-digits",
    domain="vision",
    pattern="cc",
    summary="transcribe a strip of four handwritten digits",
    backbone="encoder-decoder",
    metric="exact_match",
    higher_is_better=True,
    chance=0.0001,
    version=1,
    length="4 queries, 20 columns of 8 x 2 pixels",
    imports=("sklearn.datasets",),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn, with gaps of random width",
    licence="CC BY 4.0",
    certificate={
        "quick": {
            "margin": 0.45,
            "seeds": 3,
            "measured": {"softmax": 0.925, "none": 0.001, "mean": 0.357, "templates": 0.154},
        }
    },
)
class ReadDigits(Task):
    """Random images of a split from left to right, with the empty tokens at random between."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Width(dim=16, heads=2, layers=1), Training(4, 8, 3e-3), 20),
        "quick": _recipe(
            Width(dim=64, heads=4, layers=2, short_convolution=3), Training(900, 32, 3e-3), 500
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Choose images, and which of digits + slack places in a row are the digits'."""
        params: Strip = self.recipe.data
        images, targets = digit_images()[split]
        which = choose(count * params.digits, len(images), generator).view(count, -1)
        shuffled = torch.rand(count, params.digits + params.slack, generator=generator)
        place = shuffled.argsort(dim=1)[:, : params.digits].sort(dim=1).values
        # A digit takes the room of `each` places, so each one moves those behind it.
        left = (place + torch.arange(params.digits) * (params.each - 1)) * params.column
        size = (SIDE, params.length * params.column)
        strips = paste(images[which], torch.zeros_like(left), left, size)
        window = (SIDE, params.column)
        return {
            "source": F.unfold(strips[:, None], window, stride=window).mT,
            "targets": targets[which],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        return EncoderDecoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        tokens = F.pad(batch["targets"][:, :-1], (1, 0), value=FIRST)
        logits = model(batch["source"], _no_padding(batch), tokens)
        return F.cross_entropy(logits.mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each strip is right, and the share of its digits, greedily decoded."""
        assert isinstance(model, EncoderDecoder)
        digits = batch["targets"].shape[1]
        written = model.generate(batch["source"], _no_padding(batch), FIRST, digits)
        right = written == batch["targets"]
        return {
            "exact_match": right.all(dim=1).float(),
            "digit_accuracy": right.float().mean(dim=1),
        }

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what even cuts give, with the best match to the training images' class means."""
        params: Strip = self.recipe.data
        images, targets = digit_images()["train"]
        means = torch.stack([images[targets == digit].mean(dim=0) for digit in range(10)])
        centred = means - means.mean(dim=(1, 2), keepdim=True)
        templates = centred / centred.square().sum(dim=(1, 2), keepdim=True).sqrt()
        size, window = (SIDE, params.length * params.column), (SIDE, params.column)
        strips = F.fold(batch["source"].mT, size, window, stride=window)
        matches = F.conv2d(strips, templates[:, None]).squeeze(2)
        cut = size[1] // params.digits
        read = [
            matches[..., start : start + cut - SIDE + 1].amax(dim=2).argmax(dim=1)
            for start in range(0, params.digits * cut, cut)
        ]
        right = torch.stack(read, dim=1) == batch["targets"]
        return {"templates": right.all(dim=1).float()}

    def tokens(self, batch: Batch) -> int:
        """Count the source's tokens."""
        return batch["source"].shape[0] * batch["source"].shape[1]


def _no_padding(batch: Batch) -> Tensor:
    return torch.zeros_like(batch["source"][..., 0], dtype=torch.bool)
