"""Spoken words as tokens, single or joined, from recordings or the synthetic voice."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cab.data import load_recordings
from cab.data.audio import log_mel
from cab.seeding import generator
from cab.task import SPLITS, Split, Task, choose
from cab.tasks.speech._voice import (
    SAMPLE_RATE,
    WORDS,
    Speakers,
    draw_speakers,
    draw_takes,
    say,
)

BANDS, WINDOW, HOP = 40, 256, 100
"""Mel bands, and samples per Fourier window and from one to the next."""

WORDS_IN_ALL = 10
"""Both the digits and the words of the synthetic voice are ten."""

VOICES: dict[Split, int] = {"train": 60, "valid": 10, "test": 20}
"""How many synthetic speakers each split has; none is in two."""
TAKES = 2
"""How often a synthetic speaker says each word."""


@dataclass(frozen=True)
class Hearing:
    """`stack` mel frames make a token; a recording gives up to `longest` tokens."""

    stack: int
    longest: int

    @property
    def features(self) -> int:
        """The numbers of a token."""
        return self.stack * BANDS


@dataclass(frozen=True)
class Sayings:
    """`words` different ones in a stream, and how its recordings are heard."""

    words: int
    hearing: Hearing


class Recordings(NamedTuple):
    """The recordings of one split: tokens (R, longest, features), and what they are, each (R,).

    Every speaker says every word equally often.
    """

    tokens: Tensor
    lengths: Tensor
    words: Tensor
    speakers: Tensor

    @property
    def table(self) -> Tensor:
        """The recordings by speaker and word: (speakers, words, takes)."""
        order = (self.speakers * WORDS_IN_ALL + self.words).argsort(stable=True)
        return order.view(int(self.speakers.max()) + 1, WORDS_IN_ALL, -1)


class SpokenTask(Task):
    """A task on spoken words: those of the data set on its card, or of the synthetic voice."""

    @cached_property
    def _recordings(self) -> dict[Split, Recordings]:
        if not self.card.data:
            return synthetic_recordings(self.recipe.data.hearing)
        assert self.data_dir is not None
        return real_recordings(self.data_dir, self.recipe.data.hearing)


def split_of(index: int) -> Split:
    """Return the split of a recording: 0 to 4 test (official), 5 to 7 validation."""
    return "test" if index < 5 else "valid" if index < 8 else "train"


def hear(waveforms: list[Tensor], hearing: Hearing) -> tuple[Tensor, Tensor]:
    """Return mel tokens (R, longest, features) of waveforms in [-1, 1], and their counts."""
    kept = hearing.longest * hearing.stack * HOP + WINDOW
    cut = [waveform[:kept] for waveform in waveforms]
    frames = torch.tensor([1 + len(waveform) // HOP for waveform in cut])
    lengths = (frames // hearing.stack).clamp(max=hearing.longest)
    mel = [
        log_mel(part, sample_rate=SAMPLE_RATE, bands=BANDS, window=WINDOW, hop=HOP)
        for part in pad_sequence([*cut, torch.zeros(kept)], batch_first=True)[:-1].split(500)
    ]
    used = torch.cat(mel)[:, : hearing.longest * hearing.stack]
    return used.reshape(len(cut), hearing.longest, hearing.features), lengths


def divide(
    waveforms: list[Tensor],
    words: Tensor,
    speakers: Tensor,
    splits: list[Split],
    hearing: Hearing,
) -> dict[Split, Recordings]:
    """Compute all features, standardise them by the training recordings, and split them."""
    tokens, lengths = hear(waveforms, hearing)
    present = torch.arange(tokens.shape[1]) < lengths[:, None]
    heard = tokens[present & torch.tensor([split == "train" for split in splits])[:, None]]
    tokens = (tokens - heard.mean(dim=0)) / heard.std(dim=0) * present[..., None]
    recordings = {}
    for split in SPLITS:
        rows = torch.tensor([row for row, one in enumerate(splits) if one == split])
        named = speakers[rows].unique(return_inverse=True)[1]
        recordings[split] = Recordings(tokens[rows], lengths[rows], words[rows], named)
    return recordings


@cache
def real_recordings(directory: Path, hearing: Hearing) -> dict[Split, Recordings]:
    """Return the Free Spoken Digit Dataset: six speakers, in every split, ten digits."""
    named = load_recordings("fsdd", directory)
    parts = [stem.split("_") for stem, _ in named]
    names = sorted({speaker for _, speaker, _ in parts})
    return divide(
        [torch.from_numpy(waveform).float() / 2**15 for _, waveform in named],
        torch.tensor([int(digit) for digit, _, _ in parts]),
        torch.tensor([names.index(speaker) for _, speaker, _ in parts]),
        [split_of(int(index)) for _, _, index in parts],
        hearing,
    )


@cache
def synthetic_recordings(hearing: Hearing) -> dict[Split, Recordings]:
    """Return the synthetic voice: VOICES speakers say the ten words TAKES times each."""
    drawing = generator("voice", 1)
    voices = draw_speakers(sum(VOICES.values()), drawing)
    each = len(WORDS) * TAKES
    speakers = torch.arange(len(voices.pitch)).repeat_interleave(each)
    words = torch.arange(len(WORDS)).repeat(len(voices.pitch) * TAKES)
    takes = draw_takes(words, Speakers(*(value[speakers] for value in voices)), drawing)
    said = say(takes, drawing)
    return divide(
        [sound[:end] for sound, end in zip(said, takes.samples.tolist(), strict=True)],
        words,
        speakers,
        [split for split in SPLITS for _ in range(VOICES[split] * each)],
        hearing,
    )


class Stream(NamedTuple):
    """Recordings one after the other: tokens (B, N, features), padding (B, N) behind them.

    begins and ends (B, W) are each word's first token and the one after its last.
    """

    tokens: Tensor
    padding: Tensor
    begins: Tensor
    ends: Tensor


def join(recordings: Recordings, chosen: Tensor) -> Stream:
    """Join the recordings `chosen` (B, W), row by row; N is W times the longest recording."""
    lengths = recordings.lengths[chosen]
    present = torch.arange(recordings.tokens.shape[1]) < lengths[..., None]
    padding = ~present.flatten(1)
    # A stable sort by absence moves the tokens together, in order, and the padding behind.
    order = padding.long().argsort(dim=1, stable=True)
    tokens = recordings.tokens[chosen].flatten(1, 2)
    ends = lengths.cumsum(dim=1)
    return Stream(
        tokens.gather(1, order[..., None].expand_as(tokens)),
        padding.gather(1, order),
        ends - lengths,
        ends,
    )


def distinct(rows: int, count: int, population: int, generator: torch.Generator) -> Tensor:
    """Draw `count` different indices below `population` per row: (rows, count)."""
    return torch.rand(rows, population, generator=generator).argsort(dim=1)[:, :count]


def pick(recordings: Recordings, words: Tensor, generator: torch.Generator) -> Tensor:
    """Choose recordings of words (B, W), each row of one speaker.

    A word that is said again in its row is another recording, as long as there are any.
    """
    table = recordings.table
    speakers, _, takes = table.shape
    speaker = choose(len(words), speakers, generator)
    first = choose(words.numel(), takes, generator).view_as(words)
    same = words[:, :, None] == words[:, None, :]
    # The take of a word is that of its first saying, counted on from there.
    earliest = same.long().argmax(dim=2)
    before = same.tril(diagonal=-1).sum(dim=2)
    return table[speaker[:, None], words, (first.gather(1, earliest) + before) % takes]
