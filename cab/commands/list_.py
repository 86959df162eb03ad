"""`cab list`: what there is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cab.commands import output
from cab.commands.options import DataDir, Include, Json
from cab.data import DATA_SETS, data_directory, locate
from cab.profiles import PROFILES
from cab.registry import discover_tasks, discover_variants
from cab.taxonomy import VariantCard


class Kind(StrEnum):
    """What can be listed."""

    VARIANTS = "variants"
    TASKS = "tasks"
    PROFILES = "profiles"
    DATA = "data"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    include: Include = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List variants, tasks, profiles or data sets. Nothing of them is imported."""
    if kind == Kind.VARIANTS:
        variants(tuple(include or ()), json)
    elif kind == Kind.TASKS:
        tasks(json)
    elif kind == Kind.PROFILES:
        profiles(json)
    else:
        data_sets(data_dir, json)


def variants(include: tuple[Path, ...], json: bool) -> None:
    """List variants."""
    registry = discover_variants(include)
    for problem in registry.problems:
        output.warn(problem)
    if json:
        return output.print_json(registry.cards())
    output.print_table(
        "Variants",
        ("name", "family", "patterns", "time", "memory", "what it is", "from"),
        (
            (c.name, c.family, " ".join(c.patterns), c.time, c.memory, c.summary, _source(c))
            for c in registry.cards()
        ),
    )


def _source(card: VariantCard) -> str:
    """The paper's title and year, or the role of what has none."""
    title = card.paper.split(" (")[0]
    return f"{title}, {card.year}" if title and card.year else title or card.role


def tasks(json: bool) -> None:
    """List tasks."""
    registry = discover_tasks()
    for problem in registry.problems:
        output.warn(problem)
    if json:
        return output.print_json([
            {**output.plain(card), "scored": [p for p in PROFILES if card.scored_in(p)]}
            for card in registry.cards()
        ])  # fmt: skip
    output.print_table(
        "Tasks",
        ("name", "domain", "pattern", "metric", "in quick", "data", "what it asks"),
        (
            (
                c.name,
                c.domain,
                c.pattern,
                f"{c.metric} ({'higher' if c.higher_is_better else 'lower'} is better)",
                "scored" if c.scored_in("quick") else "diagnostic",
                ", ".join(c.data) or "built in",
                c.summary,
            )
            for c in registry.cards()
        ),
    )


def profiles(json: bool) -> None:
    """List profiles."""
    if json:
        return output.print_json(list(PROFILES.values()))
    output.print_table(
        "Profiles",
        ("name", "scored", "time limit", "memory limit", "what it is for"),
        (
            (
                p.name,
                "yes" if p.scored else "no",
                f"{p.time_limit:g} s a cell",
                f"{p.memory_limit:g} GiB a cell",
                p.summary,
            )
            for p in PROFILES.values()
        ),
    )


def data_sets(data_dir: DataDir, json: bool) -> None:
    """List data sets, and whether files of theirs are on this machine (`verify` checks them)."""
    directory = data_directory(data_dir)
    rows = [(one, bool(locate(one, directory))) for one in DATA_SETS.values()]
    if json:
        return output.print_json([{**output.plain(one), "present": there} for one, there in rows])
    output.print_table(
        f"Data sets in {directory}",
        ("name", "present", "size", "licence", "what it is"),
        (
            (
                one.name,
                "yes" if there else "no",
                f"{one.size / 1e6:.1f} MB",
                one.licence,
                one.summary,
            )
            for one, there in rows
        ),
    )
