"""`cab show`: print stored results together with softmax and the controls."""

from typing import Annotated

import typer

from cab.commands.common import output
from cab.commands.common.boards import Results
from cab.commands.common.options import DEFAULT_STORE, Include, Json, Store
from cab.commands.common.result_table import print_lines, table
from cab.errors import CabError
from cab.profiles import get_profile
from cab.records.folders import results_folders
from cab.records.store import RecordStore
from cab.registry import discover_tasks, discover_variants


def show(
    variant: Annotated[str | None, typer.Argument(help="A variant. Default: all.")] = None,
    profile: Annotated[str, typer.Option(help="Profile to show.")] = "quick",
    store: Store = DEFAULT_STORE,
    results: Results = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Show stored results with confidence intervals, together with softmax and none.

    A score of 0 needs no attention and 1 is a solved task; diagnostic tasks are not scored. If the
    store has no results of softmax or none, published ones of equal task version and recipe are
    shown.
    """
    get_profile(profile)
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    records, problems = RecordStore(store).load()
    for problem in problems:
        output.warn(problem)
    records = [record for record in records if record.task.profile == profile]
    if variant is not None and variant not in {record.variant.name for record in records}:
        variants.entry(variant)  # an unknown name says so, with the nearest ones
        published = results_folders(results).read(profile).records
        there = any(record.variant.name == variant for record in published)
        raise CabError(
            f"{store} has no {profile} results of {variant}. "
            f"Run `cab run --variant {variant} --profile {profile}`."
            + (" Published results are shown by `cab leaderboard`." if there else "")
        )
    if not records and not json:
        raise CabError(
            f"{store} has no {profile} results. "
            f"Run `cab run --variant softmax --profile {profile}`."
        )
    wanted = None if variant is None else {variant}
    found = table(records, variants, tasks, profile, wanted, results)
    if json:
        output.print_json({"profile": profile, "rows": found.lines, "problems": problems})
    else:
        print_lines(found, profile)
