"""Transcribe a string of spoken digits."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training, choose
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, reading, standard
from cab.tasks.speech._recordings import Hearing, SpokenTask

DIGITS = 10
FIRST = DIGITS
"""The token that starts every target; the tokens before it are the digits."""
SPREAD = 0.3
"""Standard deviation of the position vectors at the start, near that of the embedded sounds."""


@dataclass(frozen=True)
class Strings:
    """digits per string; `stack` mel frames make a token; a window has `longest` tokens."""

    digits: int
    stack: int
    longest: int

    @property
    def hearing(self) -> Hearing:
        """How a recording becomes tokens."""
        return Hearing(self.stack, self.longest)


def _recipe(
    levels: tuple[Strings, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = EncoderDecoderConfig(
        width,
        features=top.hearing.features,
        vocabulary=FIRST + 1,
        source_length=top.digits * top.longest,
        target_length=top.digits,
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="transcribe",
    domain="speech",
    pattern="cc",
    summary="transcribe eight spoken digits",
    backbone="encoder-decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=2,
    length="2 to 8 queries, 18 to 72 keys",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018), recordings of one speaker side by "
    "side, each in 0.9 seconds; log mel of 40 bands every 12.5 ms, eight frames a token",
    licence="CC BY-SA 4.0",
    certificate={
        "quick": {
            "margin": 0.4,
            "seeds": 3,
            "measured": {"mean": 0.425, "none": 0.102, "softmax": 0.969, "most frequent": 0.404},
            "floors": (0.7622, 0.4748, 0.3978, 0.34, 0.3125),
        },
        "standard": {"margin": 0.4, "seeds": 3},
    },
)
class Transcribe(SpokenTask):
    """Strings of one speaker's recordings; the test recordings are the official ones.

    The levels are the numbers of digits. Each recording is anywhere in a window of its own, with
    silence around it. The tokens of a window all have the position of the target that reads it, so
    that what is learned at short strings holds at long ones: each digit is to be read from its
    window, and a summary of fixed size cannot tell which digit of eight stood where.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Strings(digits, stack=8, longest=9) for digits in (2, 3)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": _recipe(
            tuple(Strings(digits, stack=8, longest=9) for digits in (2, 3, 4, 6, 8)),
            Width(dim=32, heads=2, layers=1, short_convolution=3),
            Training(900, 32, 5e-3),
            150,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(Strings(digits, stack=2, longest=36) for digits in (2, 4, 8, 16)),
                reading(SHALLOW),
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Put random recordings of a random speaker side by side, each anywhere in its window."""
        recordings, params = self._recordings[split], self.recipe.data
        speakers = int(recordings.speakers.max()) + 1
        each = len(recordings.speakers) // speakers
        by_speaker = recordings.speakers.argsort(stable=True).view(speakers, each)
        speaker = choose(count, speakers, generator)
        which = choose(count * params.digits, each, generator).view(count, params.digits)
        chosen = by_speaker[speaker[:, None], which]
        spare = params.longest - recordings.lengths[chosen]
        shift = (torch.rand(spare.shape, generator=generator) * (spare + 1)).long()
        # A recording is silent behind its end, so turning its window moves silence to the front.
        place = (torch.arange(params.longest) - shift[..., None]) % params.longest
        moved = recordings.tokens[chosen[..., None], place]
        return {"source": moved.flatten(1, 2), "targets": recordings.words[chosen]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        model = EncoderDecoder(self.recipe.model, slots)
        return model.share_windows(self.recipe.data.longest, SPREAD)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        tokens = F.pad(batch["targets"][:, :-1], (1, 0), value=FIRST)
        logits = model(batch["source"], _no_padding(batch), tokens)
        return F.cross_entropy(logits.mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each string's digits that are right, greedily decoded."""
        assert isinstance(model, EncoderDecoder)
        digits = batch["targets"].shape[1]
        written = model.generate(batch["source"], _no_padding(batch), FIRST, digits)
        return {"accuracy": (written == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the string's most frequent digit as every answer."""
        guess = F.one_hot(batch["targets"], DIGITS).sum(dim=1).argmax(dim=1, keepdim=True)
        return {"most frequent": (guess == batch["targets"]).float().mean(dim=1)}

    def tokens(self, batch: Batch) -> int:
        """Count the source's tokens."""
        return batch["source"].shape[0] * batch["source"].shape[1]


def _no_padding(batch: Batch) -> Tensor:
    return torch.zeros_like(batch["source"][..., 0], dtype=torch.bool)
