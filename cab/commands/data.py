"""`cab data`: bring data sets here and check them."""

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

from cab.commands import list_, output
from cab.commands.help import Command
from cab.commands.options import DataDir, Json
from cab.data import DATA_SETS, VERBATIM, data_directory, get_data_set, inspect, locate

SMALL = [one.name for one in VERBATIM]
"""What a bare `cab data fetch` brings: 25 MB, where the published sets are gigabytes."""

app = typer.Typer(help="List, fetch and verify data sets.", no_args_is_help=True)


@app.command("list", cls=Command)
def list_data(data_dir: DataDir = None, json: Json = False) -> None:
    """List data sets."""
    list_.data_sets(data_dir, json)


@app.command("fetch", cls=Command)
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets; those that quick needs if none.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Download data sets from their upstream addresses and verify them."""
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
        typer.Argument(help="Data sets; those that quick needs and all that are here if none."),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Hold local copies against the published sets. Exit 1 if one is missing or altered."""
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
