"""`cab report`: the board as a table for a paper, a web page or a program."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.common import output
from cab.commands.common.boards import (
    FromStore,
    Results,
    load_board,
    read_records,
    scored_profile,
)
from cab.commands.common.options import Include, Suite, SuiteProfile, profile_of
from cab.records.files import try_writing, write_file
from cab.records.text import tidy
from cab.registry import discover_tasks, discover_variants, reference_names
from cab.taxonomy import of_suite

if TYPE_CHECKING:
    from cab.scores.board import Board


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
    suite: Suite = None,
    profile: SuiteProfile = None,
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
    """Write the board, or a published benchmark's own tables beside your results, as a table.

    csv and json contain every task; latex and md have one line per entry.
    """
    if file is not None:
        try_writing(file, "The report")
    chosen, files = scored_profile(profile_of(profile, suite)), tuple(include or ())
    if suite is None:
        text = _board(format_, rows, load_board(results, store, chosen, files, strict=strict)[0])
    else:
        text = _suite(suite, format_, chosen, results, store, files, strict)
    if file is None:
        output.write_text(text)
        return
    write_file(file, tidy(text), "The report")
    output.say(f"Wrote {file}.")


def _board(format_: Format, rows: int | None, board: "Board") -> str:
    from cab.scores import report as reports

    write = {
        Format.CSV: reports.to_csv,
        Format.JSON: reports.to_json,
        Format.LATEX: reports.to_latex,
        Format.MARKDOWN: reports.to_markdown,
    }[format_]
    return write(board, rows)


def _suite(
    suite: str,
    format_: Format,
    profile: str,
    results: Path | None,
    store: Path | None,
    include: tuple[Path, ...],
    strict: bool,
) -> str:
    from cab.commands.common.suites import tables_of, to_text
    from cab.records.folders import results_folders

    tasks, variants = discover_tasks(include), discover_variants(include)
    of_suite(tasks.cards(), suite)  # an unknown one is said before any file is read
    folders, references = results_folders(results), reference_names(variants)
    records = read_records(folders, store, profile, references, strict)
    return to_text(tables_of(suite, tasks, records, profile, results), format_)
