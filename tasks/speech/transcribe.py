"""Write down a string of spoken digits."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.audio import log_mel
from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.data import load_recordings
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose

SAMPLE_RATE = 8_000
BANDS = 40
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
)
class Transcribe(Task):
    """Strings of one speaker's recordings; the official test recordings are only tested on."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Width(dim=16, heads=2, layers=1), Training(4, 8, 3e-3), 20),
        "quick": _recipe(Width(dim=64, heads=4, layers=2), Training(1200, 32, 3e-3), 500),
    }

    @cached_property
    def _recordings(self) -> dict[Split, Recordings]:
        assert self.data_dir is not None
        params: Strings = self.recipe.data
        rows: dict[Split, list[tuple[Tensor, int, str]]] = {"train": [], "valid": [], "test": []}
        for stem, waveform in load_recordings("fsdd", self.data_dir):
            digit, speaker, index = stem.split("_")
            frames = log_mel(torch.from_numpy(waveform) / 2**15, sample_rate=SAMPLE_RATE)
            frames = frames[: len(frames) // params.stack * params.stack]
            tokens = frames.reshape(-1, params.stack * BANDS)[: params.longest]
            rows[split_of(int(index))].append((tokens, int(digit), speaker))
        heard = torch.cat([tokens for tokens, _, _ in rows["train"]])
        names = sorted({speaker for _, _, speaker in rows["train"]})
        recordings = {}
        for split, kept in rows.items():
            padded = torch.zeros(len(kept), params.longest, params.stack * BANDS)
            for row, (tokens, _, _) in zip(padded, kept, strict=True):
                row[: len(tokens)] = (tokens - heard.mean(dim=0)) / heard.std(dim=0)
            recordings[split] = Recordings(
                padded,
                torch.tensor([len(tokens) for tokens, _, _ in kept]),
                torch.tensor([digit for _, digit, _ in kept]),
                torch.tensor([names.index(speaker) for _, _, speaker in kept]),
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
