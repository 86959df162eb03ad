"""`cab verify`: are published results sound, and do reruns give the same?"""

import secrets
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.commands.common import output
from cab.commands.common.options import DataDir, Device, Include, Json, choose_device
from cab.data import data_directory, require
from cab.errors import CabError
from cab.records.files import try_writing
from cab.registry import Registry, discover_tasks, discover_variants, reference_names
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.publishing.problems import Problem
    from cab.publishing.status import Rerun
    from cab.records.folders import Published
    from cab.records.results import Verification
    from cab.records.store import Record
    from cab.scores.normalise import Scale


def verify(
    file: Annotated[list[Path], typer.Argument(help="Files results/<profile>/<variant>.jsonl.")],
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Rerun so many cells of each file; all if not given."),
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
        bool, typer.Option("--write", help="Keep the reruns in results/verified/.")
    ] = False,
    json: Json = False,
) -> None:
    """Check files of results, then rerun cells and say whether they give what was published.

    Checked are form, keys, and every number that can be computed or bounded without training:
    docs/verification.md lists the checks. `--sample 0` trains no cell, but builds the models, so
    it runs the variant's code. The cells of a sample are chosen by --draw and the keys; the draw
    is printed, so that the choice can be repeated.

    A rerun agrees if it differs from the published value of the same seed by .02 of the task's
    scale (0 is its floor, 1 the best value) or less. A difference up to .1 is tolerated in one of
    ten reruns. Exit 1 if a file has an error or is not reproduced.
    """
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    chosen = choose_device(device) if sample != 0 else "cpu"
    directory = data_directory(data_dir)
    draw = secrets.token_hex(8) if draw is None else draw
    if sample:
        output.say(f"Cells are chosen by --draw {shlex.quote(draw)}.")
    from cab.publishing.recount import Recount
    from cab.publishing.status import compare, reproduced
    from cab.publishing.validation import trace, validate
    from cab.records.folders import folders_around, refuse_package
    from cab.records.results import read_file, write_verifications

    if write:
        refuse_package(file)
        for path in file:
            try_writing(_rerun_file(path), "Reruns", parents=True)
    problems: list[Problem] = []
    reruns: list[tuple[Path, Rerun]] = []
    sentences: list[str] = []
    failed = False
    recount = Recount(variants, tasks, directory)
    for path in file:
        published = folders_around(path).read(path.parent.name, reference_names(variants))
        found = validate(path, variants, tasks, published.records, files, recount)
        looks, scales = _board(path, published, variants, tasks)
        problems += found + trace(path, variants, published.verifications) + looks
        if sample == 0 or any(one.severity == "error" for one in found):
            continue
        records = read_file(path)
        again, left_out = _run(records, sample, draw, variants, tasks, files, directory, chosen)
        sentences += left_out
        own = [compare(run, tasks.card(run.task).metric, scales.get(run.task)) for run in again]
        reruns += [(path, one) for one in own]
        failed |= not reproduced(own)
        if write and again:
            target = _rerun_file(path)
            write_verifications(target, again)
            output.say(f"Wrote {target}.")
    if json:
        output.print_json(
            {
                "problems": problems,
                "runs": [
                    {
                        **one.run.model_dump(mode="json"),
                        "difference": one.difference,
                        "agreement": one.agreement,
                    }
                    for _, one in reruns
                ],
                "failed": sentences,
                "draw": draw if sample else None,
            }
        )
    else:
        _print(problems, reruns, failed)
    for sentence in sentences:
        output.warn(sentence)
    if failed or sentences or any(one.severity == "error" for one in problems):
        raise typer.Exit(1)


def _rerun_file(path: Path) -> Path:
    """Where reruns of a file of results are kept."""
    from cab.records.results import VERIFIED

    return path.parent.parent / VERIFIED / path.parent.name / path.name


def _board(
    path: Path,
    published: "Published",
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
) -> "tuple[list[Problem], Mapping[str, Scale]]":
    """What the published board asks a person to look at, and the scales of its tasks."""
    from cab.publishing.problems import Problem
    from cab.publishing.validation import suspicious
    from cab.scores.board import make_board
    from cab.scores.table import records_table

    board = make_board(
        records_table(published.records),
        path.parent.name,
        {card.name: card for card in tasks.cards()},
        {card.name: card for card in variants.cards()},
    )
    looks = [Problem("look", str(path), text) for text in suspicious(board, path.stem)]
    looks += [Problem("look", str(path), text) for text in published.problems]
    return looks, board.scales


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
    """Rerun a sample in a store of its own; say what gave no result."""
    from cab.commands.cells.progress import RunProgress
    from cab.publishing.verification import sample, verdict
    from cab.records.store import RecordStore
    from cab.running.estimates import data_needed
    from cab.running.execution import Runner
    from cab.running.fork_server import scratch_folder
    from cab.running.replanning import cell_of

    chosen = sample(records, count, draw)
    by_key = {record.key: record for record in chosen}
    cells = [cell_of(record, variants, tasks, include) for record in chosen]
    require(data_needed(cells), directory)
    again, failed = [], []
    scratch = tempfile.TemporaryDirectory(prefix="verify-", dir=scratch_folder())
    with scratch as folder, RunProgress(cells) as said:
        for one in Runner(RecordStore(Path(folder)), directory, device, said).run(cells):
            if one.record is None:
                failed.append(f"{one.cell.title} could not be run: {one.problem}")
                continue
            try:
                again.append(verdict(by_key[one.cell.key], one.record))
            except CabError as error:
                failed.append(str(error))
    return again, failed


def _print(problems: "list[Problem]", reruns: "list[tuple[Path, Rerun]]", failed: bool) -> None:
    for problem in problems:
        text = f"{problem.severity}: {problem.where}: {problem.message}"
        output.out.print(text, markup=False, soft_wrap=True)
    if reruns:
        output.print_table(
            "Reruns",
            ("variant", "task", "seed", "published", "rerun", "difference on the scale", ""),
            [
                (
                    path.stem,
                    one.run.task,
                    str(one.run.seed),
                    f"{one.run.published:.4f}",
                    f"{one.run.value:.4f}",
                    f"{one.difference:.4f}",
                    one.agreement,
                )
                for path, one in reruns
            ],
        )
    errors = sum(one.severity == "error" for one in problems)
    text = f"{errors} errors, {len(problems) - errors} to look at"
    if reruns:
        agree = sum(one.agreement == "agrees" for _, one in reruns)
        verdict = "not reproduced" if failed else "reproduced"
        text += f"; {len(reruns)} cells rerun, {agree} agree: {verdict}"
    output.out.print(f"{text}.", markup=False)
