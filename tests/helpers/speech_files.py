"""A small LJSpeech with alignments, written in the format of the published files."""

import math
import zipfile
from pathlib import Path

import torch
from published_support import encoded, wav, write_parquet

RATE = 22_050


def text_grid(phones: list[tuple[float, float, str]]) -> str:
    """A TextGrid file of two tiers, as the Montreal Forced Aligner writes it."""
    end = phones[-1][1]
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        f"xmin = 0.0\nxmax = {end}\ntiers? <exists>\nsize = 2\nitem []:",
    ]
    for number, (name, entries) in enumerate(
        (("words", [(0.0, end, "word")]), ("phones", phones)), 1
    ):
        lines.append(f'\titem [{number}]:\n\t\tclass = "IntervalTier"\n\t\tname = "{name}"')
        lines.append(f"\t\txmin = 0.0\n\t\txmax = {end}\n\t\tintervals: size = {len(entries)}")
        for at, (start, stop, said) in enumerate(entries, 1):
            lines.append(f"\t\t\tintervals [{at}]:\n\t\t\t\txmin = {start}\n\t\t\t\txmax = {stop}")
            lines.append(f'\t\t\t\ttext = "{said}"')
    return "\n".join(lines) + "\n"


SAID = [(0.0, 0.1, "sil"), (0.1, 0.2, "HH"), (0.2, 0.35, "AY1"), (0.35, 0.45, "sp")]
SAID += [(0.45, 0.6, "T"), (0.6, 0.7, "sil")]


def tone(hertz: float, samples: int = 9_000) -> torch.Tensor:
    """A voice-like sound of three harmonics."""
    time = torch.arange(samples) / RATE
    return sum(0.2 / n * torch.sin(2 * math.pi * n * hertz * time) for n in (1, 2, 3))


def write_corpus(root: Path) -> None:
    """Six sentences, the third without an alignment; their pitch tells them apart."""
    names = ["LJ001-1", "LJ002-7", "LJ004-9", "LJ003-2", "LJ004-1", "LJ050-3"]
    rows = {
        "id": names,
        "audio": [encoded(wav(tone(100.0 + 20 * at, 16_000).numpy(), RATE)) for at in range(6)],
        "normalized_text": ["high"] * 6,
    }
    write_parquet(root / "ljspeech" / "main" / "train" / "0000.parquet", rows)
    with zipfile.ZipFile(root / "ljspeech" / "ljspeech_mfa.zip", "w") as archive:
        for name in (name for name in names if name != "LJ004-9"):
            archive.writestr(f"{name}.TextGrid", text_grid(SAID))
