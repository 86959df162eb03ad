"""Transcribe a string of spoken digits."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training, choose
from cab.tasks.speech._recordings import Hearing, SpokenTask, join

FIRST = 10
"""The token that starts every target; tokens 0 to 9 are the digits."""


@dataclass(frozen=True)
class Strings:
    """digits per string; `stack` mel frames make a token; a recording gives up to `longest`."""

    digits: int = 3
    stack: int = 4
    longest: int = 21

    @property
    def hearing(self) -> Hearing:
        """How a recording becomes tokens."""
        return Hearing(self.stack, self.longest)


def _recipe(width: Width, training: Training, examples: int) -> Recipe:
    strings = Strings()
    model = EncoderDecoderConfig(
        width,
        features=strings.hearing.features,
        vocabulary=11,
        source_length=strings.digits * strings.longest,
        target_length=strings.digits,
    )
    return Recipe(strings, model, training, examples, examples)


@register_task(
    name="transcribe",
    domain="speech",
    pattern="cc",
    summary="transcribe three spoken digits",
    backbone="encoder-decoder",
    metric="exact_match",
    higher_is_better=True,
    chance=0.001,
    version=1,
    length="3 queries, up to 63 keys",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018), three recordings of one speaker "
    "joined; log mel of 40 bands every 12.5 ms, four frames a token",
    licence="CC BY-SA 4.0",
    certificate={
        "quick": {
            "margin": 0.3,
            "seeds": 3,
            "measured": {"softmax": 0.987, "none": 0.002, "mean": 0.570},
        }
    },
)
class Transcribe(SpokenTask):
    """Strings of one speaker's recordings; the test recordings are the official ones."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Width(dim=16, heads=2, layers=1), Training(4, 8, 3e-3), 20),
        "quick": _recipe(Width(dim=64, heads=4, layers=2), Training(1000, 32, 3e-3), 500),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Join random recordings of a random speaker."""
        recordings, params = self._recordings[split], self.recipe.data
        speakers = int(recordings.speakers.max()) + 1
        each = len(recordings.speakers) // speakers
        by_speaker = recordings.speakers.argsort(stable=True).view(speakers, each)
        speaker = choose(count, speakers, generator)
        which = choose(count * params.digits, each, generator).view(count, params.digits)
        chosen = by_speaker[speaker[:, None], which]
        stream = join(recordings, chosen)
        return {
            "source": stream.tokens,
            "source_padding": stream.padding,
            "targets": recordings.words[chosen],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        return EncoderDecoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        tokens = F.pad(batch["targets"][:, :-1], (1, 0), value=FIRST)
        logits = model(batch["source"], batch["source_padding"], tokens)
        return F.cross_entropy(logits.mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each string is right, and the share of its digits, greedily decoded."""
        assert isinstance(model, EncoderDecoder)
        digits = batch["targets"].shape[1]
        written = model.generate(batch["source"], batch["source_padding"], FIRST, digits)
        right = written == batch["targets"]
        return {
            "exact_match": right.all(dim=1).float(),
            "digit_accuracy": right.float().mean(dim=1),
        }

    def tokens(self, batch: Batch) -> int:
        """Count the source's tokens, padding left out."""
        return int((~batch["source_padding"]).sum())
