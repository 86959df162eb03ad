"""`cab report`: the board as a table for a paper, a web page or a program."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cab.commands import output
from cab.commands.boards import (
    FromStore,
    Results,
    ScoredProfile,
    load_board,
)
from cab.commands.options import Include
from cab.records.files import try_writing, write_file
from cab.records.text import tidy


class Format(StrEnum):
    """The formats of the table."""

    CSV = "csv"
    JSON = "json"
    LATEX = "latex"
    MARKDOWN = "md"


def report(
    format_: Annotated[
        Format, typer.Option("--format", help="The format of the table.")
    ] = Format.MARKDOWN,
    profile: ScoredProfile = "quick",
    rows: Annotated[int | None, typer.Option(min=1, help="Write only this many rows.")] = None,
    results: Results = None,
    store: FromStore = None,
    include: Include = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if a results file cannot be read.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--output", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """Write the board as a table.

    csv and json contain every task; latex and md have one line per entry.
    """
    if file is not None:
        try_writing(file, "The report")
    board, _, _ = load_board(results, store, profile, tuple(include or ()), strict=strict)
    from cab.scores import report as reports

    write = {
        Format.CSV: reports.to_csv,
        Format.JSON: reports.to_json,
        Format.LATEX: reports.to_latex,
        Format.MARKDOWN: reports.to_markdown,
    }[format_]
    text = write(board, rows)
    if file is None:
        output.write_text(text)
        return
    write_file(file, tidy(text), "The report")
    output.say(f"Wrote {file}.")
