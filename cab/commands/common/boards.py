"""What the commands about boards share: reading results, and messages about them."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.common import output
from cab.errors import CabError
from cab.profiles import PROFILES, get_profile
from cab.registry import Registry, certified, discover_tasks, discover_variants, reference_names
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.records.folders import ResultsFolders
    from cab.records.store import Record
    from cab.scores.board import Board

Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        help="Folder of published results [default: that of the checkout; elsewhere ./results, "
        "together with the results that CAB includes].",
        envvar="CAB_RESULTS",
        show_default=False,
    ),
]
FromStore = Annotated[
    Path | None,
    typer.Option("--store", help="Also read this store of your own runs."),
]
ScoredProfile = Annotated[str, typer.Option("--profile", help="Profile: quick, standard or full.")]


def scored_profile(name: str) -> str:
    """The name of a profile that is scored.

    Raises:
        CabError: there is no such profile, or it is never scored.
    """
    if not get_profile(name).scored:
        scored = ", ".join(one for one, profile in PROFILES.items() if profile.scored)
        raise CabError(f"Profile {name} is never scored. Choose from {scored}.")
    return name


def read_records(
    results: "ResultsFolders",
    store: Path | None,
    profile: str,
    references: Collection[str],
    strict: bool = False,
) -> "list[Record]":
    """The published records of a profile and, of a store, those that could be published.

    Raises:
        CabError: strict, and a file cannot be read; else a note says so and it is left out.
    """
    from cab.records.copies import without_copies
    from cab.records.results import publishable
    from cab.records.store import Record, RecordStore

    published = results.read(profile, references)
    problems = list(published.problems)
    by_key: dict[str, tuple[object, Record]] = {
        record.key: (f"{results} ({record.key})", record) for record in published.records
    }
    if store is not None:
        own, more = RecordStore(store).load()
        problems += more
        by_key |= {
            record.key: (RecordStore(store).path(record.key), record)
            for record in own
            if record.task.profile == profile and not publishable(record)
        }
    records, copies = without_copies(by_key.values())
    problems += copies
    for problem in (*problems, *published.notes):
        output.warn(problem)
    if strict and problems:
        ending = "" if len(problems) == 1 else "s"
        raise CabError(
            f"Some results cannot be read; correct the {len(problems)} problem{ending} named "
            f"above."
        )
    return records


def load_board(
    results: Path | None,
    store: Path | None,
    profile: str,
    include: tuple[Path, ...] = (),
    strict: bool = False,
) -> "tuple[Board, Registry[VariantCard], Registry[TaskCard]]":
    """The board of a profile.

    Raises:
        CabError: there is nothing to show or, if strict, a file cannot be read.
    """
    from cab.records.folders import results_folders
    from cab.records.sources import installed_sources, installed_task_sources, other_source
    from cab.scores.board import make_board
    from cab.scores.table import records_table

    scored_profile(profile)
    variants, tasks = discover_variants(include), discover_tasks(include)
    folders = results_folders(results)
    references = reference_names(variants)
    records = read_records(folders, store, profile, references, strict)
    installed = installed_sources(variants, sorted({one.variant.name for one in records}))
    board = make_board(
        records_table(records, installed, installed_task_sources(tasks)),
        profile,
        {card.name: card for card in tasks.cards()},
        {card.name: card for card in variants.cards()},
    )
    if not certified(tasks, profile)[0]:
        unscored = (
            f"No task is certified in profile {profile}, so no result has a score there. "
            f"`cab show --profile {profile}` shows your results; `cab certify TASK --profile "
            f"{profile}` measures a certificate."
        )
        if not board.rows:
            raise CabError(unscored)
        output.warn(unscored)
    if not board.rows:
        where = " and ".join(map(str, (folders, *([store] if store else []))))
        raise CabError(
            f"There are no scored {profile} results in {where} of the present version of a task. "
            f"Run `cab run --variant {references[0]} --profile {profile}`, then `cab publish "
            f"--profile {profile}`; `--store runs` shows your own runs without publishing them."
        )
    for row in board.rows:
        if said := other_source(row.variant, row.source, installed):
            output.warn(f"{row.entry}: {said}.")
    return board, variants, tasks
