"""`cab list`: list variants, tasks, profiles and data sets."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cab.commands.common import output
from cab.commands.common.options import DataDir, Include, Json, Suite
from cab.data import DATA_SETS, data_directory, locate
from cab.errors import CabError
from cab.profiles import PROFILES, Profile
from cab.registry import certified, discover_tasks, discover_variants
from cab.taxonomy import TaskCard, VariantCard, of_suite


class Kind(StrEnum):
    """What can be listed."""

    VARIANTS = "variants"
    TASKS = "tasks"
    PROFILES = "profiles"
    DATA = "data"


def list_(
    kind: Annotated[
        Kind | None,
        typer.Argument(help=f"{', '.join(Kind)}. Default: the number of each."),
    ] = None,
    include: Include = None,
    data_dir: DataDir = None,
    suite: Suite = None,
    json: Json = False,
) -> None:
    """List variants, tasks, profiles or data sets, without importing them."""
    files = tuple(include or ())
    if suite is not None and kind != Kind.TASKS:
        raise CabError("--suite selects tasks. Use `cab list tasks --suite NAME`.")
    if kind is None:
        overview(files, json)
    elif kind == Kind.VARIANTS:
        variants(files, json)
    elif kind == Kind.TASKS:
        tasks(files, json, suite)
    elif kind == Kind.PROFILES:
        profiles(json)
    else:
        data_sets(data_dir, json)


def overview(include: tuple[Path, ...], json: bool) -> None:
    """Say how many there are of each kind, and the command that lists them."""
    found = discover_variants(include), discover_tasks(include)
    for problem in dict.fromkeys(problem for one in found for problem in one.problems):
        output.warn(problem)
    numbers = (*(len(one.entries) for one in found), len(PROFILES), len(DATA_SETS))
    counts = dict(zip(Kind, numbers, strict=True))
    if json:
        return output.print_json(counts)
    rows = [
        (str(count), kind, MEANINGS[kind], f"cab list {kind}") for kind, count in counts.items()
    ]
    output.print_table("Contents of CAB", ("", "", "what they are", "list them with"), rows)
    output.out.print("Use `cab info NAME` to show one of them in full.", markup=False)


MEANINGS = {
    Kind.VARIANTS: "attention mechanisms",
    Kind.TASKS: "benchmarks to train and test on",
    Kind.PROFILES: "sizes of a benchmark run",
    Kind.DATA: "data sets of the tasks",
}


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


def tasks(include: tuple[Path, ...], json: bool, suite: str | None = None) -> None:
    """List tasks: all, or those of a suite with the columns that they repeat."""
    registry = discover_tasks(include)
    cards = registry.cards() if suite is None else of_suite(registry.cards(), suite)
    for problem in registry.problems:
        output.warn(problem)
    if json:
        return output.print_json([
            {
                **output.plain(card),
                "scored": [p for p in PROFILES if card.scored_in(p)],
                "in_row": [p for p in PROFILES if card.in_row(p)],
            }
            for card in cards
        ])  # fmt: skip
    columns = "in quick" if suite is None else "column"
    output.print_table(
        "Tasks" if suite is None else f"Tasks of suite {suite}",
        ("name", "domain", "pattern", "metric", columns, "data", "what it asks"),
        (
            (
                c.name,
                c.domain,
                c.pattern,
                f"{c.metric} ({'higher' if c.higher_is_better else 'lower'} is better)",
                _status(c) if suite is None else ", ".join(c.suites[suite].values()),
                ", ".join(c.data) or "built in",
                c.summary,
            )
            for c in cards
        ),
    )


def profiles(json: bool) -> None:
    """List profiles, with what has been certified and published in each."""
    from cab.records.folders import results_folders

    registry, folders = discover_tasks(), results_folders()
    rows = [
        (one, certified(registry, one.name), len(folders.files(one.name, "*.jsonl")[0]))
        for one in PROFILES.values()
    ]
    if json:
        return output.print_json(
            [
                {**output.plain(one), "certified": done, "to_certify": all_, "published": entries}
                for one, (done, all_), entries in rows
            ]
        )
    output.print_table(
        "Profiles",
        ("name", "scored", "published", "time limit", "memory limit", "what it is for"),
        (
            (
                one.name,
                scored_text(one, *tasks),
                f"{entries} entries" if entries else "nothing",
                f"{one.time_limit:g} s per cell",
                f"{one.memory_limit:g} GiB per cell",
                one.summary,
            )
            for one, tasks, entries in rows
        ),
    )


def scored_text(profile: Profile, done: int, tasks: int) -> str:
    """Say whether results of a profile are scored: on the tasks that are certified there."""
    if not profile.scored:
        return "never"
    if done:
        return f"{done} of {tasks} tasks"
    return f"not yet: {f'none of {tasks} tasks is' if tasks else 'no task is'} certified"


def data_sets(data_dir: DataDir, json: bool) -> None:
    """List data sets and whether they are on this machine; `cab data verify` checks the files."""
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


def _status(card: TaskCard) -> str:
    if card.scored_in("quick"):
        return "scored"
    return "not certified yet" if card.in_row("quick") else "diagnostic"
