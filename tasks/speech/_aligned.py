"""LJSpeech with its phonemes and their durations, as FastSpeech 2 needs them.

The alignments are those of fairseq S2 (Montreal Forced Aligner), which CAB uses: a TextGrid file
of each sentence in one zip file. Silence before the first and after the last phoneme is cut off.
"""

import re
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cab.data import HubSet, decode_audio, get_data_set, load_part, locate
from cab.data.audio import log_mel
from cab.task import SPLITS, Batch, Split, choose
from cab.tasks.speech._ljspeech import BANDS, HOP, MEASURED, SAMPLE_RATE, WINDOW, split_of
from cab.tasks.speech._pitch import contour, fundamental

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
PAUSES = ("sil", "sp", "spn", "")
PHONEMES = (
    *(vowel + stress for vowel in VOWELS.split() for stress in "012"),
    *CONSONANTS.split(),
    *PAUSES,
)
"""ARPAbet with the stress of vowels, and what an aligner calls pauses and noise."""
SYMBOLS = 1 + len(PHONEMES)
"""Symbol 0 is padding."""
ENTRY = re.compile(r'xmin = ([\d.eE+-]+)\s+xmax = ([\d.eE+-]+)\s+text = "(.*?)"')


@dataclass(frozen=True)
class Phonemes:
    """Phonemes and frames of a sentence, at most; longer sentences are cut off."""

    phonemes: int
    frames: int


class Aligned(NamedTuple):
    """A sentence's phonemes, their frames, and where speech begins and ends in seconds."""

    symbols: list[int]
    durations: list[int]
    start: float
    end: float


def read_alignment(text: str) -> Aligned:
    """Read the tier `phones` of a TextGrid file.

    Raises:
        ValueError: there is no such tier or no speech in it, or a phoneme is not known.
    """
    _, found, tier = text.partition('name = "phones"')
    entries = [(float(a), float(b), name.strip()) for a, b, name in ENTRY.findall(tier)]
    spoken = [at for at, (_, _, name) in enumerate(entries) if name not in PAUSES]
    if not found or not spoken:
        raise ValueError("a TextGrid file has no speech in a tier called phones")
    if unknown := {name for _, _, name in entries} - {*PHONEMES}:
        raise ValueError(f"a TextGrid file has the unknown phonemes {sorted(unknown)}")
    kept = entries[spoken[0] : spoken[-1] + 1]
    rate = SAMPLE_RATE / HOP
    return Aligned(
        [1 + PHONEMES.index(name) for _, _, name in kept],
        [round(end * rate) - round(start * rate) for start, end, _ in kept],
        kept[0][0],
        kept[-1][1],
    )


@dataclass(frozen=True)
class AlignedCorpus:
    """The sentences in `datasets`' memory map, those of each split, and moments of training.

    moments are means and standard deviations: of the bands (2, BANDS), and of pitch and energy.
    """

    rows: Any
    of_split: dict[Split, Tensor]
    moments: Tensor
    variances: dict[str, tuple[float, float]]

    def draw(
        self, params: Phonemes, split: Split, count: int, generator: torch.Generator
    ) -> Batch:
        """Draw sentences to train on; to validate and to test they are evenly spaced."""
        members = self.of_split[split]
        place = choose(count, len(members), generator)
        if split != "train":
            place = torch.linspace(0, len(members) - 1, count).long()
        batch = {
            "inputs": torch.zeros(count, params.phonemes, dtype=torch.long),
            "durations": torch.zeros(count, params.phonemes, dtype=torch.long),
            "pitch": torch.zeros(count, params.phonemes),
            "energy": torch.zeros(count, params.phonemes),
            "targets": torch.zeros(count, params.frames, BANDS),
            "lengths": torch.zeros(count, dtype=torch.long),
        }
        for at, row in enumerate(self.rows[one] for one in members[place].tolist()):
            symbols = torch.from_numpy(row["symbols"][: params.phonemes].copy())
            durations = torch.from_numpy(row["durations"][: params.phonemes].copy())
            ends = durations.cumsum(dim=0).clamp(max=params.frames)
            durations = ends.diff(prepend=ends.new_zeros(1))
            length, number = int(ends[-1]), len(symbols)
            frames = _frames(row)[:length]
            batch["inputs"][at, :number], batch["durations"][at, :number] = symbols, durations
            for name, (mean, deviation) in self.variances.items():
                values = torch.from_numpy(row[name][:number].copy())
                batch[name][at, :number] = (values - mean) / deviation
            batch["targets"][at, :length] = (frames - self.moments[0]) / self.moments[1]
            batch["lengths"][at] = length
        return batch


def _frames(row: dict[str, Any]) -> Tensor:
    return torch.from_numpy(row["mel"].copy()).view(-1, BANDS)


@cache
def aligned_corpus(directory: Path) -> AlignedCorpus:
    """Return LJSpeech with its alignments."""
    (path,) = locate(get_data_set("ljspeech-mfa"), directory)
    return prepare("ljspeech", directory, path)


def prepare(data_set: str | HubSet, directory: Path, alignments: Path) -> AlignedCorpus:
    """Hear every aligned sentence, once per machine; a sentence without an alignment is left out.

    Raises:
        ValueError: a recording at another sample rate, or an alignment that cannot be read.
    """
    with zipfile.ZipFile(alignments) as archive:
        texts = {
            PurePosixPath(name).stem: archive.read(name).decode()
            for name in archive.namelist()
            if name.endswith(".TextGrid")
        }
    rows = load_part(data_set, directory, "train")
    rows = rows.select([at for at, name in enumerate(rows["id"]) if name in texts])
    names = rows["id"]
    rows = rows.map(
        lambda row: _hear(row, read_alignment(texts[row["id"]])),
        remove_columns=rows.column_names,
    ).with_format("numpy")
    splits = [split_of(name) for name in names]
    of_split = {
        split: torch.tensor([row for row, one in enumerate(splits) if one == split])
        for split in SPLITS
    }
    measured = [rows[row] for row in of_split["train"][:MEASURED].tolist()]
    heard = torch.cat([_frames(row) for row in measured])
    variances = {}
    for name in ("pitch", "energy"):
        values = torch.cat([torch.from_numpy(row[name].copy()) for row in measured])
        variances[name] = (values.mean().item(), values.std().item())
    moments = torch.stack((heard.mean(dim=0), heard.std(dim=0)))
    return AlignedCorpus(rows, of_split, moments, variances)


def _hear(row: dict[str, Any], aligned: Aligned) -> dict[str, Any]:
    """Frames, durations, and the mean log pitch and log energy of each phoneme's frames."""
    waveform, rate = decode_audio(row["audio"])
    if rate != SAMPLE_RATE:
        raise ValueError(f"{row['id']} has {rate} samples a second, not {SAMPLE_RATE}")
    spoken = torch.from_numpy(waveform)[int(aligned.start * rate) : int(aligned.end * rate)]
    mel = log_mel(spoken, sample_rate=rate, bands=BANDS, window=WINDOW, hop=HOP)
    pitch = contour(fundamental(spoken, rate, WINDOW, HOP))
    energy = mel.exp().sum(dim=1).log() / 2
    ends = torch.tensor(aligned.durations).cumsum(dim=0).clamp(max=len(mel))
    durations = ends.diff(prepend=ends.new_zeros(1))
    means = {
        name: np.array(
            [
                part.mean().item() if len(part) else 0.0
                for part in frames.split(durations.tolist())
            ],
            dtype=np.float32,
        )
        for name, frames in (("pitch", pitch[: ends[-1]]), ("energy", energy[: ends[-1]]))
    }
    return {
        "symbols": np.array(aligned.symbols, dtype=np.int64),
        "durations": durations.numpy(),
        "mel": mel[: int(ends[-1])].flatten().numpy(),
        **means,
    }
