"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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

DEFAULT_STORE = Path("runs")
