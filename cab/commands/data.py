"""`cab data`: list, download and verify data sets."""

from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cab.commands import list_
from cab.commands.common import output
from cab.commands.common.help import Command
from cab.commands.common.options import DataDir, Json
from cab.data import DATA_SETS, VERBATIM, data_directory, get_data_set, inspect, locate

SMALL = [one.name for one in VERBATIM]
"""The data sets that `cab data fetch` downloads by default: 25 MB; others have gigabytes."""

app = typer.Typer(help="List, download and verify data sets.", no_args_is_help=True)


@app.command("list", cls=Command)
def list_data(data_dir: DataDir = None, json: Json = False) -> None:
    """List data sets, and whether they are present."""
    list_.data_sets(data_dir, json)


@app.command("fetch", cls=Command)
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets; default: those needed by quick.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Download data sets from their original addresses and verify them."""
    from cab.data.fetch import fetch as fetch_one

    directory = data_directory(data_dir)
    wanted = [get_data_set(name) for name in (names or SMALL)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    results = {}
    for one in wanted:
        with Progress(*columns, console=output.err, disable=not output.err.is_terminal) as bar:
            task = bar.add_task(one.name, total=None)
            results[one.name] = fetch_one(
                one,
                directory,
                lambda done, total: bar.update(task, completed=done, total=total or None),  # noqa: B023
            )
        output.say(results[one.name])
    if json:
        output.print_json({"directory": directory, "fetched": results})


@app.command("verify", cls=Command)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Data sets; default: those needed by quick, plus any present."),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check local copies by their hashes. Exit 1 if one is missing or altered."""
    directory = data_directory(data_dir)
    here = [name for name, one in DATA_SETS.items() if name in SMALL or locate(one, directory)]
    states = {name: inspect(get_data_set(name), directory) for name in (names or here)}
    if json:
        output.print_json(
            {name: {"state": state, "message": text} for name, (state, text) in states.items()}
        )
    else:
        for _, text in states.values():
            output.out.print(text, markup=False, soft_wrap=True)
    if any(state != "verified" for state, _ in states.values()):
        raise typer.Exit(1)
