"""`cab verify`: are published results sound, and does running them again give the same?"""

import secrets
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.commands import output
from cab.commands.options import DataDir, Device, Include, Json, choose_device
from cab.data import data_directory, get_data_set, inspect
from cab.errors import CabError
from cab.registry import Registry, discover_tasks, discover_variants, reference_names
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.publishing.validation import Problem
    from cab.records.results import Verification
    from cab.records.store import Record
    from cab.running.cells import Cell


def verify(
    file: Annotated[list[Path], typer.Argument(help="Files results/<profile>/<variant>.jsonl.")],
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Run so many cells of each file again; all if not given."),
    ] = None,
    draw: Annotated[
        str | None,
        typer.Option(
            help="Text that seeds the choice of --sample; a random one is drawn if not given."
        ),
    ] = None,
    include: Include = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    write: Annotated[
        bool, typer.Option("--write", help="Keep the re-runs in results/verified/.")
    ] = False,
    json: Json = False,
) -> None:
    """Check files of results, then run cells again and say whether they lie in the interval.

    Checked are place, form, names, sizes, that no number is NaN, and that each record's key
    is that of the cell as it would run today. `--sample 0` runs no cell, but imports the variant.
    The cells of a sample are chosen by --draw and the keys; the draw is printed, so that the
    choice can be repeated. A re-run is inside if it lies in the 95 % interval for one more seed.
    Exit 1 if a file has an error or a re-run lies outside.
    """
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    chosen = choose_device(device) if sample != 0 else "cpu"
    directory = data_directory(data_dir)
    draw = secrets.token_hex(8) if draw is None else draw
    if sample:
        output.say(f"Cells are chosen by --draw {shlex.quote(draw)}.")
    from cab.publishing.validation import validate
    from cab.records.folders import folders_around, refuse_package
    from cab.records.results import read_file

    if write:
        refuse_package(file)
    problems: list[Problem] = []
    runs: list[tuple[Path, Verification]] = []
    sentences: list[str] = []
    for path in file:
        folders = folders_around(path)
        published = folders.read(path.parent.name, reference_names(variants)).records
        found = validate(path, variants, tasks, published, files)
        found += _suspicions(path, published, variants, tasks)
        problems += found
        if sample == 0 or any(one.severity == "error" for one in found):
            continue
        records = read_file(path)
        again, left_out = _run(records, sample, draw, variants, tasks, files, directory, chosen)
        sentences += left_out
        runs += [(path, one) for one in again]
        if write and again:
            _keep(path, again)
    if json:
        output.print_json(
            {
                "problems": problems,
                "runs": [{**one.model_dump(mode="json"), "inside": one.inside} for _, one in runs],
                "failed": sentences,
                "draw": draw if sample else None,
            }
        )
    else:
        _print(problems, runs)
    for sentence in sentences:
        output.warn(sentence)
    errors = [one for one in problems if one.severity == "error"]
    if errors or sentences or not all(one.inside for _, one in runs):
        raise typer.Exit(1)


def _suspicions(
    path: Path,
    published: "list[Record]",
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
) -> "list[Problem]":
    from cab.publishing.validation import Problem, suspicious
    from cab.scores.board import make_board
    from cab.scores.table import records_table

    board = make_board(
        records_table(published),
        path.parent.name,
        {card.name: card for card in tasks.cards()},
        {card.name: card for card in variants.cards()},
    )
    return [Problem("look", str(path), text) for text in suspicious(board, path.stem)]


def _run(
    records: "list[Record]",
    count: int | None,
    draw: str,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    include: tuple[Path, ...],
    directory: Path,
    device: Any,
) -> "tuple[list[Verification], list[str]]":
    """Run a sample again in a store of its own; say what gave no result."""
    from cab.commands.progress import RunProgress
    from cab.publishing.verification import sample, verdict
    from cab.records.store import RecordStore
    from cab.running.execution import Runner
    from cab.running.replanning import cell_of

    chosen = sample(records, count, draw)
    by_key = {record.key: record for record in chosen}
    cells = [cell_of(record, variants, tasks, include) for record in chosen]
    _need_data(cells, directory)
    again, failed = [], []
    with tempfile.TemporaryDirectory(prefix="cab-verify-") as folder, RunProgress(cells) as said:
        for one in Runner(RecordStore(Path(folder)), directory, device, said).run(cells):
            if one.record is None:
                failed.append(f"{one.cell.title} could not be run: {one.problem}")
                continue
            try:
                again.append(verdict(by_key[one.cell.key], records, one.record))
            except CabError as error:
                failed.append(str(error))
    return again, failed


def _need_data(cells: "list[Cell]", directory: Path) -> None:
    from cab.running.cells import data_needed

    for name in data_needed(cells):
        state, sentence = inspect(get_data_set(name), directory)
        if state != "verified":
            raise CabError(sentence)


def _keep(path: Path, again: "list[Verification]") -> None:
    """Add re-runs to those that are kept; of equal keys the new one counts."""
    from cab.records.results import VERIFIED, canonical_line, read_verifications

    target = path.parent.parent / VERIFIED / path.parent.name / path.name
    by_key = {one.key: one for one in (*read_verifications(target), *again)}
    text = "".join(canonical_line(by_key[key]) + "\n" for key in sorted(by_key))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CabError(f"{target} cannot be written: {error}.") from None
    output.say(f"Wrote {target}.")


def _print(problems: "list[Problem]", runs: "list[tuple[Path, Verification]]") -> None:
    for problem in problems:
        text = f"{problem.severity}: {problem.where}: {problem.message}"
        output.out.print(text, markup=False, soft_wrap=True)
    if runs:
        output.print_table(
            "Run again",
            ("variant", "task", "seed", "published", "again", "95 % for one more seed", ""),
            [
                (
                    path.stem,
                    one.task,
                    str(one.seed),
                    f"{one.published:.4f}",
                    f"{one.value:.4f}",
                    f"[{one.low:.4f}, {one.high:.4f}]",
                    "inside" if one.inside else "OUTSIDE",
                )
                for path, one in runs
            ],
        )
    errors = sum(one.severity == "error" for one in problems)
    outside = sum(not one.inside for _, one in runs)
    text = f"{errors} errors, {len(problems) - errors} to look at; {len(runs)} cells run again"
    output.out.print(f"{text}, {outside} outside." if runs else f"{text}.", markup=False)
