"""Predict the next code of a stream of spoken words."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import IGNORED, SPLITS, Batch, Recipe, Split, Training, choose
from cab.tasks.speech._recordings import WORDS_IN_ALL, Hearing, SpokenTask, join, pick


@dataclass(frozen=True)
class Codes:
    """`words` per stream; every heard token becomes one of `codes`, by `sketch` numbers of it."""

    words: int
    hearing: Hearing
    codes: int
    sketch: int

    @property
    def length(self) -> int:
        """The longest stream in codes."""
        return self.words * self.hearing.longest


def quantise(tokens: Tensor, params: Codes) -> Tensor:
    r"""Return the code of each token (..., features): that of the nearest random direction.

    .. math:: c = \arg\max_i \; b_i \cdot \frac{A x}{\|A x\|}

    with unit vectors b and a normal matrix A that are drawn once and never trained (BEST-RQ, Chiu
    et al., 2022, arXiv 2202.01855).
    """
    drawing = seeded("audio-lm", "quantiser")
    projection = torch.randn(params.sketch, tokens.shape[-1], generator=drawing)
    directions = F.normalize(torch.randn(params.codes, params.sketch, generator=drawing), dim=1)
    return ((tokens @ projection.T) @ directions.T).argmax(dim=-1)


def recipe(params: Codes, width: Width, training: Training, examples: int) -> Recipe:
    """Make a recipe; validation takes half as many examples as the test."""
    model = DecoderConfig(width, vocabulary=params.codes + 1, length=params.length)
    return Recipe(params, model, training, examples // 2, examples)


SMOKE = recipe(
    Codes(2, Hearing(stack=4, longest=6), codes=8, sketch=4),
    Width(dim=16, heads=2, layers=1),
    Training(4, 8, 3e-3),
    20,
)
QUICK = recipe(
    Codes(6, Hearing(stack=2, longest=24), codes=64, sketch=16),
    Width(dim=64, heads=2, layers=2, short_convolution=3),
    Training(800, 16, 4e-3),
    300,
)


class NextCode(SpokenTask):
    """Random words of one speaker of the split, with repetitions."""

    @cached_property
    def _codes(self) -> dict[Split, Tensor]:
        """The codes of each split's recordings: (R, longest)."""
        heard, params = self._recordings, self.recipe.data
        return {split: quantise(heard[split].tokens, params) for split in SPLITS}

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Join recordings; the input is the stream one code later, after a code that starts it."""
        params: Codes = self.recipe.data
        recordings = self._recordings[split]
        words = choose(count * params.words, WORDS_IN_ALL, generator).view(count, params.words)
        coded = recordings._replace(tokens=self._codes[split][..., None])
        stream = join(coded, pick(recordings, words, generator))
        codes = stream.tokens.squeeze(2)
        return {
            "inputs": F.pad(codes[:, :-1], (1, 0), value=params.codes),
            "targets": codes.masked_fill(stream.padding, IGNORED),
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per code."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return bits per code of each stream."""
        logits, targets = model(batch["inputs"]).mT, batch["targets"]
        nats = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
        return {"bits_per_code": nats.sum(dim=1) / (targets != IGNORED).sum(dim=1) / math.log(2)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return bits per code of the counts of pairs in training recordings, add one."""
        codes, lengths = self.recipe.data.codes, self._recordings["train"].lengths
        known = self._codes["train"]
        within = torch.arange(1, known.shape[1]) < lengths[:, None]
        pairs = (known[:, :-1] * codes + known[:, 1:])[within]
        counts = torch.bincount(pairs, minlength=codes**2).view(codes, codes) + 1
        # What starts a stream is followed by anything.
        counts = torch.cat((counts, torch.ones(1, codes, dtype=torch.long)))
        bits = -(counts / counts.sum(dim=1, keepdim=True)).log2()
        asked = batch["targets"] != IGNORED
        each = bits[batch["inputs"], batch["targets"].clamp(min=0)] * asked
        return {"pairs of codes": each.sum(dim=1) / asked.sum(dim=1)}


@register_task(
    name="audio-lm",
    domain="speech",
    pattern="cs",
    summary="predict the next code of six words of a synthetic voice (bits per code)",
    backbone="decoder",
    metric="bits_per_code",
    higher_is_better=False,
    chance=6.0,
    version=1,
    length="up to 144 codes of 25 ms",
    source="generated speech, see `_voice.py`; log mel of 40 bands every 12.5 ms, two frames a "
    "code of 64, by a random-projection quantiser (Chiu et al., 2022, arXiv 2202.01855)",
    licence="generated",
    diagnostic=("quick",),
)
class AudioLm(NextCode):
    """The synthetic voice."""

    recipes = {"smoke": SMOKE, "quick": QUICK}  # noqa: RUF012
