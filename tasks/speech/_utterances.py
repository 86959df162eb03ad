"""Utterances to synthesise: consecutive words of one synthetic speaker."""

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.seeding import generator as seeded
from cab.task import SPLITS, Batch, Split, choose
from cab.tasks.speech._recordings import BANDS, HOP, Hearing, hear
from cab.tasks.speech._voice import WORDS, Speakers, draw_speakers, draw_takes, say

VOWELS = "aeiou"
SYMBOLS = 1 + len(VOWELS)
"""Symbol 0 is padding; a word is written as its two vowels."""
TAKES: dict[Split, int] = {"train": 24, "valid": 4, "test": 8}
"""How often each word is said for a split; no take is in two."""
LONGEST = 48
"""Frames of a take at most: a word lasts 0.32 to 0.55 seconds, a frame 12.5 ms."""


@dataclass(frozen=True)
class Utterances:
    """Words per utterance; its frames are padded to a whole number of `frames_per_step`."""

    words: int
    frames_per_step: int = 1

    @property
    def frames(self) -> int:
        """The longest utterance in frames."""
        return math.ceil(self.words * LONGEST / self.frames_per_step) * self.frames_per_step


class Takes(NamedTuple):
    """The takes of one split: log mel frames (R, LONGEST, BANDS), and each take's own, all (R,).

    pitch is the logarithm of hertz.
    """

    frames: Tensor
    lengths: Tensor
    words: Tensor
    pitch: Tensor


@cache
def takes() -> dict[Split, Takes]:
    """Return every word said by one voice, as often as TAKES says."""
    drawing = seeded("utterances", 1)
    voice = draw_speakers(1, drawing)
    counts = [TAKES[split] * len(WORDS) for split in SPLITS]
    words = torch.arange(sum(counts)) % len(WORDS)
    voices = Speakers(*(value.expand(len(words)) for value in voice))
    drawn = draw_takes(words, voices, drawing)
    said = say(drawn, drawing)
    waveforms = [sound[:end] for sound, end in zip(said, drawn.samples.tolist(), strict=True)]
    # `hear` counts a last frame that begins at the end, which is silent.
    frames, lengths = hear(waveforms, Hearing(stack=1, longest=LONGEST))
    lengths = torch.minimum(lengths, drawn.samples // HOP)
    parts = (frames, lengths, words, drawn.voices.pitch.log())
    divided = zip(*(part.split(counts) for part in parts), strict=True)
    return {split: Takes(*one) for split, one in zip(SPLITS, divided, strict=True)}


class Moments(NamedTuple):
    """Means and standard deviations of the training takes: of each band, and of the pitch."""

    frames: Tensor
    pitch: Tensor


@cache
def moments() -> Moments:
    """Measure the training takes: (2, BANDS) and (2,)."""
    train = takes()["train"]
    heard = train.frames[torch.arange(LONGEST) < train.lengths[:, None]]
    return Moments(
        torch.stack((heard.mean(dim=0), heard.std(dim=0))),
        torch.stack((train.pitch.mean(), train.pitch.std())),
    )


def standard(values: Tensor, moments: Tensor) -> Tensor:
    """Return z-scores."""
    return (values - moments[0]) / moments[1]


def energies(frames: Tensor, durations: Tensor) -> Tensor:
    """Return the mean of each symbol's frames over time and bands: (B, N); 0 without frames."""
    ends = durations.cumsum(dim=1)
    total = F.pad(frames.mean(dim=2).cumsum(dim=1), (1, 0))
    return (total.gather(1, ends) - total.gather(1, ends - durations)) / durations.clamp(min=1)


def draw_utterances(
    params: Utterances, split: Split, count: int, generator: torch.Generator
) -> Batch:
    """Draw utterances of random takes of random words.

    inputs (B, 2 words) are the symbols; durations, pitch (z-scores) and energy are theirs;
    targets (B, frames, BANDS) are z-scores of log mel, 0 from lengths (B,) on. Of a take's frames
    its first vowel has the first half, for the glide is in the middle.
    """
    spoken, measured = takes()[split], moments()
    chosen = choose(count * params.words, len(spoken.words), generator).view(count, params.words)
    lengths = spoken.lengths[chosen]
    first = lengths // 2
    durations = torch.stack((first, lengths - first), dim=2).flatten(1)

    # A stable sort by absence moves the takes' frames together, in order, and padding behind.
    present = (torch.arange(LONGEST) < lengths[..., None]).flatten(1)
    order = (~present).long().argsort(dim=1, stable=True)
    frames = standard(spoken.frames[chosen], measured.frames).flatten(1, 2)
    frames = (frames * present[..., None]).gather(1, order[..., None].expand_as(frames))
    targets = frames.new_zeros(count, params.frames, BANDS)
    targets[:, : frames.shape[1]] = frames

    written = torch.tensor([[1 + VOWELS.index(vowel) for vowel in word] for word in WORDS])
    return {
        "inputs": written[spoken.words[chosen]].flatten(1),
        "durations": durations,
        "pitch": standard(spoken.pitch[chosen], measured.pitch).repeat_interleave(2, dim=1),
        "energy": energies(targets, durations),
        "targets": targets,
        "lengths": durations.sum(dim=1),
    }
