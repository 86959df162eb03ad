"""LJSpeech as fairseq S2 prepares it: sentences in characters, 80 log mel bands at 22,050 Hz."""

import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cab.data import HubSet, decode_audio, load_part
from cab.data.audio import log_mel
from cab.task import SPLITS, Batch, PublishedTraining, Split, choose

SAMPLE_RATE = 22_050
BANDS, WINDOW, HOP = 80, 1024, 256
CHARACTERS = string.ascii_lowercase + " .,;:?!'\"()-"
SYMBOLS = 1 + len(CHARACTERS)
"""Symbol 0 is padding; a character that is none of CHARACTERS is left out."""
MEASURED = 500
"""How many training sentences the bands' means and deviations are measured on."""

TTS_TRAINING = PublishedTraining(
    200_000,
    48,
    5e-4,
    weight_decay=0.0,
    warmup=0.02,
    gradient_clip=5.0,
    schedule="inverse-root",
    keep="best",
)
"""CAB's training of both of its synthesisers, by fairseq."""


@dataclass(frozen=True)
class Sentences:
    """Characters and frames of a sentence, at most; longer sentences are cut off."""

    characters: int
    frames: int
    frames_per_step: int


def split_of(name: str) -> Split:
    """The split of a sentence, by its book, as in fairseq S2."""
    book = name.split("-")[0]
    return "test" if book in ("LJ001", "LJ002") else "valid" if book == "LJ003" else "train"


def spell(text: str) -> list[int]:
    """Return a text's symbols."""
    return [1 + CHARACTERS.index(one) for one in text.lower() if one in CHARACTERS]


@dataclass(frozen=True)
class Corpus:
    """The sentences in `datasets`' memory map, those of each split, and the bands' moments."""

    rows: Any
    of_split: dict[Split, Tensor]
    moments: Tensor

    def draw(
        self, params: Sentences, split: Split, count: int, generator: torch.Generator
    ) -> Batch:
        """Draw sentences to train on; to validate and to test they are evenly spaced."""
        members = self.of_split[split]
        place = choose(count, len(members), generator)
        if split != "train":
            place = torch.linspace(0, len(members) - 1, count).long()
        inputs = torch.zeros(count, params.characters, dtype=torch.long)
        targets = torch.zeros(count, params.frames, BANDS)
        lengths = torch.zeros(count, dtype=torch.long)
        for at, row in enumerate(members[place].tolist()):
            symbols = torch.from_numpy(self.rows[row]["symbols"][: params.characters].copy())
            frames = _frames(self.rows[row])[: params.frames]
            inputs[at, : len(symbols)] = symbols
            targets[at, : len(frames)] = (frames - self.moments[0]) / self.moments[1]
            lengths[at] = len(frames)
        return {"inputs": inputs, "targets": targets, "lengths": lengths}


def _frames(row: dict[str, Any]) -> Tensor:
    return torch.from_numpy(row["mel"].copy()).view(-1, BANDS)


@cache
def corpus(directory: Path) -> Corpus:
    """Return LJSpeech."""
    return prepare("ljspeech", directory)


def prepare(data_set: str | HubSet, directory: Path) -> Corpus:
    """Hear every sentence, once per machine: `datasets` keeps the frames in its cache.

    Raises:
        ValueError: a recording at another sample rate.
    """
    rows = load_part(data_set, directory, "train")
    names = rows["id"]
    rows = rows.map(_hear, remove_columns=rows.column_names).with_format("numpy")
    splits = [split_of(name) for name in names]
    of_split = {
        split: torch.tensor([row for row, one in enumerate(splits) if one == split])
        for split in SPLITS
    }
    heard = torch.cat([_frames(rows[row]) for row in of_split["train"][:MEASURED].tolist()])
    return Corpus(rows, of_split, torch.stack((heard.mean(dim=0), heard.std(dim=0))))


def _hear(row: dict[str, Any]) -> dict[str, Any]:
    waveform, rate = decode_audio(row["audio"])
    if rate != SAMPLE_RATE:
        raise ValueError(f"{row['id']} has {rate} samples a second, not {SAMPLE_RATE}")
    mel = log_mel(
        torch.from_numpy(waveform), sample_rate=rate, bands=BANDS, window=WINDOW, hop=HOP
    )
    symbols = np.array(spell(row["normalized_text"]), dtype=np.int64)
    return {"symbols": symbols, "mel": mel.flatten().numpy()}
