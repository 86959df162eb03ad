"""What the commands about boards share: where results come from, and how a row is said."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands import output
from cab.errors import CabError
from cab.profiles import PROFILES, get_profile
from cab.registry import Registry, discover_tasks, discover_variants
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.records.store import Record
    from cab.scores.board import Board

DEFAULT_RESULTS = Path("results")

Results = Annotated[
    Path, typer.Option("--results", help="Folder of published results.", envvar="CAB_RESULTS")
]
FromStore = Annotated[
    Path | None,
    typer.Option("--store", help="Read this store of your own runs beside the published results."),
]
ScoredProfile = Annotated[str, typer.Option("--profile", help="quick, standard or full.")]


def scored_profile(name: str) -> str:
    """The name of a profile that is scored.

    Raises:
        CabError: there is no such profile, or it is never scored.
    """
    if not get_profile(name).scored:
        scored = ", ".join(one for one, profile in PROFILES.items() if profile.scored)
        raise CabError(f"Profile {name} is never scored; these are: {scored}.")
    return name


def read_records(results: Path, store: Path | None, profile: str) -> "list[Record]":
    """The published records of a profile and, of a store, those that could be published."""
    from cab.records.results import publishable, read_results
    from cab.records.store import RecordStore

    records, _, problems = read_results(results, profile)
    by_key = {record.key: record for record in records}
    if store is not None:
        own, more = RecordStore(store).load()
        problems += more
        by_key |= {
            record.key: record
            for record in own
            if record.task.profile == profile and not publishable(record)
        }
    for problem in problems:
        output.warn(problem)
    return list(by_key.values())


def load_board(
    results: Path,
    store: Path | None,
    profile: str,
    include: tuple[Path, ...] = (),
    together: bool = False,
) -> "tuple[Board, Registry[VariantCard], Registry[TaskCard]]":
    """The board of a profile.

    Raises:
        CabError: there is nothing to show.
    """
    from cab.scores.board import make_board
    from cab.scores.table import records_table

    scored_profile(profile)
    variants, tasks = discover_variants(include), discover_tasks()
    records = read_records(results, store, profile)
    board = make_board(
        records_table(records),
        profile,
        {card.name: card for card in tasks.cards()},
        {card.name: card for card in variants.cards()},
        together,
    )
    if not board.rows:
        where = f"{results}/{profile}" + (f" and {store}" if store else "")
        raise CabError(
            f"{where} holds no {profile} results that count. `--store runs` shows your own runs; "
            f"`cab publish` publishes them."
        )
    return board, variants, tasks
