"""`cab certify`: train a task's controls and write its certificate."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from cab.commands.cells.work import check_writable
from cab.commands.common import output
from cab.commands.common.options import (
    DEFAULT_STORE,
    DataDir,
    Device,
    Include,
    Json,
    Seeds,
    Store,
    choose_device,
)
from cab.data import data_directory, require
from cab.errors import CabError, Interrupted
from cab.profiles import get_profile
from cab.records.files import try_writing, write_file
from cab.registry import discover_tasks, discover_variants

DEFAULT_OUT = Path("results/certificates")


def certify_tasks(
    task: Annotated[list[str], typer.Argument(help="The tasks to certify.")],
    profile: Annotated[str, typer.Option(help="smoke, quick, standard or full.")] = "quick",
    seeds: Seeds = None,
    out: Annotated[Path, typer.Option(help="Folder for the certificates.")] = DEFAULT_OUT,
    device: Device = "auto",
    store: Store = DEFAULT_STORE,
    data_dir: DataDir = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Train softmax and every control on tasks, and write certificates that they need attention.

    Each learns at the task's learning rate that validation chooses, as every entry does. Finished
    cells are skipped. Exit 1 if the margin of a task is too small.
    """
    size = get_profile(profile)
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    cards = [tasks.card(name) for name in dict.fromkeys(task)]
    directory = data_directory(data_dir)
    require({name for card in cards for name in card.data}, directory)

    try_writing(out, "Certificates", folder=True)
    check_writable(store)

    from cab.analysis.certificates import certificate_path, certify, control_cells
    from cab.commands.cells.progress import RunProgress
    from cab.records.store import RecordStore
    from cab.running.execution import Runner
    from cab.running.search import SEEDS, Search

    records, count = RecordStore(store), seeds or SEEDS
    cells = [c for card in cards for c in control_cells(card, size, count, variants, tasks, files)]
    try:
        with RunProgress(cells) as progress:
            runner = Runner(
                records, directory, choose_device(device), progress, search=Search(count)
            )
            with closing(runner.each(cells)) as each:
                finished = list(each)
    except Interrupted:
        raise Interrupted("Finished cells are kept. Rerun the same command to resume.") from None
    written = []
    for card in cards:
        of_task = [one for one in finished if one.cell.task.name == card.name]
        missing = [one.problem for one in of_task if one.record is None]
        if missing:
            raise CabError(" ".join(missing))
        found = [one.record for one in of_task if one.record is not None]
        certificate = certify(card, profile, variants, found)
        path = certificate_path(out, card.name, profile)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, certificate.to_json(), "The certificate")
        written.append((certificate, path))
    if json:
        output.print_json([{"path": str(path), "holds": one.holds} for one, path in written])
    else:
        rows = [
            (
                one.task,
                one.best,
                one.best_control,
                f"{one.margin:.3f}" + ("" if one.interval is None else f" ± {one.interval:.3f}"),
                f"{one.asked:g}",
                "holds" if one.holds else "FAILS",
                str(path),
            )
            for one, path in written
        ]
        columns = (
            "task",
            "best attention",
            "best control",
            "margin ± 95 %",
            "required",
            "",
            "certificate",
        )
        output.print_table(f"Certificates, profile {profile}, {count} seeds", columns, rows)
    if not all(one.holds for one, _ in written):
        raise typer.Exit(1)
