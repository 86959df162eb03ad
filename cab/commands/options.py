"""Options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from cab.errors import CabError
from cab.taxonomy import Pattern

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Store = Annotated[
    Path, typer.Option("--store", envvar="CAB_STORE", help="Folder of records and their index.")
]
Include = Annotated[
    list[Path] | None,
    typer.Option("--include", help="A Python file that registers a variant. Repeatable."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of data sets (else CAB_DATA, else the user's cache)."),
]

Patterns = Annotated[
    list[str] | None, typer.Option("--pattern", help="Only these: ns, cs, nc, cc (or a,b).")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where it runs.")]

DEFAULT_STORE = Path("runs")


def read_patterns(given: Sequence[str]) -> tuple[Pattern, ...]:
    """Read what --pattern was given.

    Raises:
        CabError: a word that is no pattern.
    """
    words = [word.strip().lower() for text in given for word in text.split(",") if word.strip()]
    for word in words:
        if word not in list(Pattern):
            raise CabError(f"There is no pattern {word!r}; the patterns are {', '.join(Pattern)}.")
    return tuple(map(Pattern, words))


def choose_device(wanted: str) -> Literal["cpu", "cuda"]:
    """Resolve `auto`; asking for a device that is not there raises.

    Raises:
        CabError: --device cuda without one.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise CabError("--device cuda: PyTorch sees no CUDA device here. `cab doctor` says more.")
    return "cpu"
