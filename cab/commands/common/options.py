"""Options that several commands share."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from cab.errors import CabError
from cab.profiles import DEFAULT_PROFILE, SUITE_PROFILE
from cab.records.fields import LARGEST_SEED
from cab.taxonomy import Domain, Pattern

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Store = Annotated[
    Path,
    typer.Option(
        "--store", envvar="CAB_STORE", help="Folder of your records and their MLflow index."
    ),
]


def _included(given: list[Path] | None) -> list[Path]:
    """The files of CAB_INCLUDE and of --include, each once."""
    always = [Path(text) for text in os.environ.get("CAB_INCLUDE", "").split(os.pathsep) if text]
    for path in always:
        if not path.is_file():
            raise CabError(f"CAB_INCLUDE names {path}, which is not a file. Correct the variable.")
    return list(dict.fromkeys(path.resolve() for path in (*always, *(given or ()))))


Include = Annotated[
    list[Path] | None,
    typer.Option(
        "--include",
        callback=_included,
        help="A Python file that registers a variant or a task. Repeatable. The environment "
        f"variable CAB_INCLUDE lists further files, separated by '{os.pathsep}'.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Folder of data sets. Default: CAB_DATA, else the user's cache."
    ),
]

Patterns = Annotated[
    list[str] | None,
    typer.Option(
        "--pattern", help="Only these patterns: ns, cs, nc or cc; several as ns,cs. Repeatable."
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Device to run on.")
]

Profile = Annotated[str, typer.Option("--profile", help="smoke, quick, standard or full.")]
SuiteProfile = Annotated[
    str | None,
    typer.Option(
        "--profile", help="smoke, quick, standard or full. Default: quick; with --suite, full."
    ),
]
Suite = Annotated[
    str | None,
    typer.Option(
        "--suite",
        help="Only tasks of this published benchmark, such as cab or lra; see docs/published.md.",
    ),
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task. Repeatable.")]
Domains = Annotated[
    list[Domain] | None, typer.Option("--domain", help="Only this domain. Repeatable.")
]
MOST_SEEDS = 10_000
"""Of one command, whose plan holds all cells; a rank needs three."""
Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        max=MOST_SEEDS,
        help="Number of seeds: 0 to N - 1. Default: 3 where the learning rate is chosen, else 1.",
    ),
]
TrainingSeed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=LARGEST_SEED, help="Training seed. Default: 0."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of the variant, train.SETTING or model.SETTING. Repeatable.",
    ),
]
Hybrid = Annotated[
    str | None,
    typer.Option(
        "--hybrid", help="K:1 uses softmax in every (K + 1)-th layer; causal decoders only."
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option("--time-limit", min=0.1, help="Seconds per cell. Default: the profile's limit."),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option("--memory-limit", min=0.1, help="GiB per cell. Default: the profile's limit."),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        "--checkpoints", resolve_path=True, help="Save the trained weights in this folder."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Processes that train one cell together and share each batch; one GPU each.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Rerun finished cells.")]
Unchecked = Annotated[
    bool,
    typer.Option(
        "--unchecked", help="Train without checking the laws first; results are marked unchecked."
    ),
]
Diagnostic = Annotated[
    bool,
    typer.Option(
        "--diagnostic",
        help="Also run tasks that do not count towards the score (ignored with --task).",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and exit.")]


class TrackingKind(StrEnum):
    """Whether records are also indexed."""

    MLFLOW = "mlflow"
    NONE = "none"


TrackingOption = Annotated[
    TrackingKind,
    typer.Option(
        "--tracking", help="Index records in MLflow during the run, or later with `cab index`."
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow tracking server. Default: mlflow.db in the store.",
    ),
]

DEFAULT_STORE = Path("runs")


def profile_of(given: str | None, suite: str | None) -> str:
    """The profile that was asked for: by default quick, or full with a suite."""
    return given or (DEFAULT_PROFILE if suite is None else SUITE_PROFILE)


def read_patterns(given: Sequence[str]) -> tuple[Pattern, ...]:
    """Parse the values of --pattern.

    Raises:
        CabError: a value is not a pattern.
    """
    words = [word.strip().lower() for text in given for word in text.split(",") if word.strip()]
    for word in words:
        if word not in list(Pattern):
            raise CabError(
                f"--pattern {word!r} is not a pattern. Choose from {', '.join(Pattern)}."
            )
    return tuple(map(Pattern, words))


def choose_device(wanted: str) -> Literal["cpu", "cuda"]:
    """Resolve `auto` to the device that is present.

    Raises:
        CabError: --device cuda was given and there is no CUDA device.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise CabError(
            "--device cuda: PyTorch finds no CUDA device. Use --device cpu, or run `cab doctor`."
        )
    return "cpu"
