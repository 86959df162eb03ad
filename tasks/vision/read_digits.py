"""Transcribe a strip of handwritten digits."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, reading, standard
from cab.tasks.vision._images import SIDE, digit_images, paste

DIGITS = 10
FIRST = DIGITS
"""The token that starts every target; the tokens before it are the digits."""
SPREAD = 0.3
"""Standard deviation of the position vectors at the start, near that of the embedded columns."""


@dataclass(frozen=True)
class Strip:
    """`digits` side by side, each in a window of `window` tokens of `column` pixels' width."""

    digits: int
    column: int
    window: int

    def __post_init__(self) -> None:
        if self.digits < 1 or self.window * self.column < SIDE:
            raise ValueError(
                f"read-digits needs digits >= 1 and windows of at least {SIDE} pixels"
            )

    @property
    def length(self) -> int:
        """Tokens per strip."""
        return self.digits * self.window


def _recipe(
    levels: tuple[Strip, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = EncoderDecoderConfig(
        width,
        features=SIDE * top.column,
        vocabulary=FIRST + 1,
        source_length=top.length,
        target_length=top.digits,
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="read-digits",
    domain="vision",
    pattern="cc",
    summary="transcribe a strip of twelve handwritten digits",
    backbone="encoder-decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=3,
    length="3 to 12 queries, 18 to 72 columns of 8 x 2 pixels",
    imports=("sklearn.datasets",),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn, each anywhere in a window of 12 columns of pixels",
    licence="CC BY 4.0",
    certificate={
        "quick": {
            "margin": 0.35,
            "seeds": 3,
            "measured": {"mean": 0.355, "none": 0.066, "softmax": 0.976, "most frequent": 0.327},
            "floors": (0.5711, 0.3626, 0.283, 0.2611),
        },
        "standard": {"margin": 0.35, "seeds": 3},
    },
)
class ReadDigits(Task):
    """Random images of a split from left to right, each anywhere in a window of its own.

    The levels are the numbers of digits. The tokens of a window all have the position of the
    target that reads it, so that what is learned at short strips holds at long ones: each digit is
    to be read from its window, and a summary of fixed size cannot tell which of twelve digits
    stood where.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Strip(digits, column=2, window=6) for digits in (2, 3)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": _recipe(
            tuple(Strip(digits, column=2, window=6) for digits in (3, 6, 9, 12)),
            Width(dim=32, heads=2, layers=1, short_convolution=3),
            Training(1600, 32, 5e-3),
            150,
            rates=(2.5e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(Strip(digits, column=1, window=12) for digits in (3, 8, 16, 32)),
                reading(SHALLOW),
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Put random images side by side, each anywhere in its window."""
        params: Strip = self.recipe.data
        images, targets = digit_images()[split]
        which = choose(count * params.digits, len(images), generator).view(count, -1)
        room = params.window * params.column
        shift = torch.randint(room - SIDE + 1, which.shape, generator=generator)
        left = room * torch.arange(params.digits) + shift
        size = (SIDE, params.length * params.column)
        strips = paste(images[which], torch.zeros_like(left), left, size)
        token = (SIDE, params.column)
        return {
            "source": F.unfold(strips[:, None], token, stride=token).mT,
            "targets": targets[which],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        model = EncoderDecoder(self.recipe.model, slots)
        return model.share_windows(self.recipe.data.window, SPREAD)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        tokens = F.pad(batch["targets"][:, :-1], (1, 0), value=FIRST)
        logits = model(batch["source"], _no_padding(batch), tokens)
        return F.cross_entropy(logits.mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each strip's digits that are right, greedily decoded."""
        assert isinstance(model, EncoderDecoder)
        digits = batch["targets"].shape[1]
        written = model.generate(batch["source"], _no_padding(batch), FIRST, digits)
        return {"accuracy": (written == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the strip's most frequent digit as every answer."""
        guess = F.one_hot(batch["targets"], DIGITS).sum(dim=1).argmax(dim=1, keepdim=True)
        return {"most frequent": (guess == batch["targets"]).float().mean(dim=1)}

    def tokens(self, batch: Batch) -> int:
        """Count the source's tokens."""
        return batch["source"].shape[0] * batch["source"].shape[1]


def _no_padding(batch: Batch) -> Tensor:
    return torch.zeros_like(batch["source"][..., 0], dtype=torch.bool)
