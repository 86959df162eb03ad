"""Options that several commands share."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from cab.errors import CabError
from cab.taxonomy import Domain, Pattern

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Store = Annotated[
    Path, typer.Option("--store", envvar="CAB_STORE", help="Folder of records and their index.")
]


def _included(given: list[Path] | None) -> list[Path]:
    """The files of CAB_INCLUDE and of --include, each once."""
    always = [Path(text) for text in os.environ.get("CAB_INCLUDE", "").split(os.pathsep) if text]
    for path in always:
        if not path.is_file():
            raise CabError(f"CAB_INCLUDE names {path}: there is no such file.")
    return list(dict.fromkeys(path.resolve() for path in (*always, *(given or ()))))


Include = Annotated[
    list[Path] | None,
    typer.Option(
        "--include",
        callback=_included,
        help="A Python file of your own that registers a variant or a task. Repeatable; "
        f"CAB_INCLUDE names more, separated by '{os.pathsep}'.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of data sets (else CAB_DATA, else the user's cache)."),
]

Patterns = Annotated[
    list[str] | None, typer.Option("--pattern", help="Only these: ns, cs, nc, cc (or a,b).")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where it runs.")]

Profile = Annotated[str, typer.Option("--profile", help="smoke, quick, standard or full.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task. Repeatable.")]
Domains = Annotated[list[Domain] | None, typer.Option("--domain", help="Only this domain.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0 to N - 1.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A variant's setting, train.SETTING or model.SETTING, as KEY=VALUE."
    ),
]
Hybrid = Annotated[
    str | None,
    typer.Option(
        "--hybrid", help="K:1 puts softmax into every (K + 1)-th layer of causal decoders."
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option("--time-limit", min=0.1, help="Seconds per cell, instead of the profile's."),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option("--memory-limit", min=0.1, help="GiB per cell, instead of the profile's."),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        "--checkpoints", resolve_path=True, help="Keep the trained weights in this folder."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", min=1, help="Processes that share each batch; on CUDA a GPU each."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Rerun finished cells.")]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="Run without the proof (see `cab check`).")
]
Diagnostic = Annotated[
    bool,
    typer.Option("--diagnostic", help="Without --task: those that are not scored, too."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, run nothing.")]


class TrackingKind(StrEnum):
    """Whether records are also indexed."""

    MLFLOW = "mlflow"
    NONE = "none"


TrackingOption = Annotated[
    TrackingKind,
    typer.Option("--tracking", help="Index records in MLflow, or leave that to `cab index`."),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="Default: mlflow.db in the store."
    ),
]

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
