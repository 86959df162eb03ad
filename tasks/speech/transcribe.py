"""Write down a string of spoken digits."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cab.audio import log_mel
from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.data import load_recordings
from cab.registry import register_task
from cab.task import SPLITS, Batch, Recipe, Split, Task, Training, choose

SAMPLE_RATE = 8_000
BANDS, WINDOW, HOP = 40, 256, 100
"""Mel bands, and samples per Fourier window and from one to the next."""
FIRST = 10
"""The token that starts every target; tokens 0 to 9 are the digits."""


@dataclass(frozen=True)
class Strings:
    """digits per string; `stack` mel frames make a token; a recording gives up to `longest`."""

    digits: int = 3
    stack: int = 4
    longest: int = 21


class Recordings(NamedTuple):
    """The recordings of one split: tokens (R, longest, stack * BANDS), and what they are."""

    tokens: Tensor
    lengths: Tensor
    digits: Tensor
    speakers: Tensor


def split_of(index: int) -> Split:
    """The official test recordings are 0 to 4; of its training ones, 5 to 7 validate."""
    return "test" if index < 5 else "valid" if index < 8 else "train"


def hear(waveforms: list[Any], params: Strings) -> tuple[Tensor, Tensor]:
    """Return mel tokens (R, longest, stack * BANDS) of 16-bit recordings, and their counts."""
    kept = params.longest * params.stack * HOP + WINDOW
    cut = [torch.from_numpy(waveform[:kept]).float() / 2**15 for waveform in waveforms]
    frames = torch.tensor([1 + len(waveform) // HOP for waveform in cut])
    lengths = (frames // params.stack).clamp(max=params.longest)
    mel = [
        log_mel(part, sample_rate=SAMPLE_RATE, bands=BANDS, window=WINDOW, hop=HOP)
        for part in pad_sequence([*cut, torch.zeros(kept)], batch_first=True)[:-1].split(500)
    ]
    used = torch.cat(mel)[:, : params.longest * params.stack]
    return used.reshape(len(cut), params.longest, params.stack * BANDS), lengths


def _recipe(width: Width, training: Training, examples: int) -> Recipe:
    strings = Strings()
    model = EncoderDecoderConfig(
        width,
        features=strings.stack * BANDS,
        vocabulary=11,
        source_length=strings.digits * strings.longest,
        target_length=strings.digits,
    )
    return Recipe(strings, model, training, examples, examples)


@register_task(
    name="transcribe",
    domain="speech",
    pattern="cc",
    summary="write down three spoken digits",
    backbone="encoder-decoder",
    metric="exact_match",
    higher_is_better=True,
    chance=0.001,
    version=1,
    length="3 queries, up to 63 keys",
    data=("fsdd",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018), three recordings of one speaker "
    "joined; log mel of 40 bands every 12.5 ms, four frames a token",
    licence="CC BY-SA 4.0",
    necessity={
        "quick": {
            "margin": 0.3,
            "seeds": 3,
            "measured": {"softmax": 0.981, "none": 0.002, "mean": 0.569},
        }
    },
)
class Transcribe(Task):
    """Strings of one speaker's recordings; the official test recordings are only tested on."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Width(dim=16, heads=2, layers=1), Training(4, 8, 3e-3), 20),
        "quick": _recipe(Width(dim=64, heads=4, layers=2), Training(1000, 32, 3e-3), 500),
    }

    @cached_property
    def _recordings(self) -> dict[Split, Recordings]:
        assert self.data_dir is not None
        named = load_recordings("fsdd", self.data_dir)
        tokens, lengths = hear([waveform for _, waveform in named], self.recipe.data)
        parts = [stem.split("_") for stem, _ in named]
        names = sorted({speaker for _, speaker, _ in parts})
        digits = torch.tensor([int(digit) for digit, _, _ in parts])
        speakers = torch.tensor([names.index(speaker) for _, speaker, _ in parts])
        splits = [split_of(int(index)) for _, _, index in parts]
        present = torch.arange(tokens.shape[1]) < lengths[:, None]
        heard = tokens[present & torch.tensor([split == "train" for split in splits])[:, None]]
        tokens = (tokens - heard.mean(dim=0)) / heard.std(dim=0) * present[..., None]
        recordings = {}
        for split in SPLITS:
            rows = torch.tensor([row for row, one in enumerate(splits) if one == split])
            recordings[split] = Recordings(
                tokens[rows], lengths[rows], digits[rows], speakers[rows]
            )
        return recordings

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Join random recordings of a random speaker."""
        recordings, params = self._recordings[split], self.recipe.data
        speakers = int(recordings.speakers.max()) + 1
        each = len(recordings.speakers) // speakers
        by_speaker = recordings.speakers.argsort(stable=True).view(speakers, each)
        speaker = choose(count, speakers, generator)
        which = choose(count * params.digits, each, generator).view(count, params.digits)
        chosen = by_speaker[speaker[:, None], which]
        present = torch.arange(params.longest) < recordings.lengths[chosen][..., None]
        padding = ~present.flatten(1)
        # A stable sort by absence moves the tokens together, in order, and the padding behind.
        order = padding.long().argsort(dim=1, stable=True)
        tokens = recordings.tokens[chosen].flatten(1, 2)
        return {
            "source": tokens.gather(1, order[..., None].expand_as(tokens)),
            "source_padding": padding.gather(1, order),
            "targets": recordings.digits[chosen],
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
