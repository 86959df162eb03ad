"""`cab reliability`: how well the scored tasks tell entries apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.common import output
from cab.commands.common.boards import (
    FromStore,
    Results,
    ScoredProfile,
    read_records,
    scored_profile,
)
from cab.commands.common.names import EVERY, given_names
from cab.commands.common.options import Json
from cab.errors import CabError
from cab.registry import discover_tasks, discover_variants, name_of_role, reference_names

if TYPE_CHECKING:
    from cab.analysis.reliability import Finding, Reliability

COLUMNS = ("condition", "found", "required", "")


def reliability(
    variant: Annotated[
        list[str],
        typer.Option(help="Entries to judge by: names, several as a,b, @FILE, or all."),
    ],
    profile: ScoredProfile = "quick",
    results: Results = None,
    store: FromStore = None,
    longer: Annotated[
        Path | None,
        typer.Option(
            help="Store of the same entries, trained with four times the steps "
            "(--set train.steps=N), to compare the order with."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Report how well the scored tasks tell entries apart.

    Conditions on ceilings and floors, the scatter over seeds, the reliability of the mean over the
    tasks of a pattern, the chosen learning rates, and the order after longer training. Exit 1 if
    one of them does not hold.
    """
    from cab.analysis.reliability import reliability as judge
    from cab.analysis.variance import scores_of
    from cab.records.folders import results_folders
    from cab.records.store import RecordStore
    from cab.scores.normalise import Scale, scale_of

    variants, tasks = discover_variants(), discover_tasks()
    reference = name_of_role(variants, "reference")
    names = given_names(variant)
    names = variants.names() if EVERY in names else names
    for name in names:
        variants.entry(name)
    records = read_records(
        results_folders(results), store, scored_profile(profile), reference_names(variants)
    )
    records = [record for record in records if record.variant.name in {*names, reference}]
    scales = {
        card.name: found
        for card in tasks.cards()
        if isinstance(found := scale_of(card, profile, reference), Scale)
    }
    current = [
        record
        for record in records
        if record.task.name in scales
        and record.task.version == tasks.card(record.task.name).version
    ]
    if not current:
        raise CabError(
            f"No entry among {', '.join(names)} has results on the scored tasks of profile "
            f"{profile}. Run them first: cab sweep --variant {','.join(names)}"
        )
    more = RecordStore(longer).load()[0] if longer else []
    judged = judge(
        scores_of(current, scales),
        scores_of(more, scales, longer=True),
        {name: tasks.card(name) for name in scales},
        reference,
        [card.name for card in variants.cards() if card.role not in ("entry", "reference")],
    )
    if json:
        output.print_json(_document(judged))
    else:
        _print(judged)
    if any(one.holds is False for one in judged.findings):
        raise typer.Exit(1)


def _document(found: "Reliability") -> dict[str, object]:
    return {
        "findings": [output.plain(one) for one in found.findings],
        "components": {str(key): output.plain(one) for key, one in found.components.items()},
        "scores": [output.plain(one) for one in found.scores],
    }


def _print(found: "Reliability") -> None:
    rows = [(one.name, one.found, one.required, _verdict(one)) for one in found.findings]
    output.print_table("How well the tasks tell entries apart", COLUMNS, rows)
    for one in found.findings:
        if one.details and one.holds is not True:
            output.out.print(f"{one.name}: {'; '.join(one.details)}.", markup=False)
    columns = ("pattern", "entry", "task", "entry x task", "seed", "reliability of the mean")
    parts = [
        (
            str(pattern),
            *(f"{part:.4f}" for part in (one.entry, one.task, one.interaction, one.seed)),
            f"{one.reliability:.2f}",
        )
        for pattern, one in found.components.items()
    ]
    output.print_table("Variance of the scores by what it comes from", columns, parts)


def _verdict(one: "Finding") -> str:
    return {True: "holds", False: "FAILS", None: "not decided"}[one.holds]
