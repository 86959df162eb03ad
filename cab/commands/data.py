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
from cab.commands.options import DataDir, Json
from cab.data import DATA_SETS, data_directory, get_data_set, inspect

app = typer.Typer(help="List, fetch and verify data sets.", no_args_is_help=True)


@app.command("list")
def list_data(data_dir: DataDir = None, json: Json = False) -> None:
    """List data sets."""
    list_.data_sets(data_dir, json)


@app.command("fetch")
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets; all of them if none.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Download data sets from their upstream addresses and verify them."""
    from cab.fetch import fetch as fetch_one

    directory = data_directory(data_dir)
    wanted = [get_data_set(name) for name in (names or DATA_SETS)]
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


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets; all of them if none.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check the sha256 of local copies. Exit 1 if one is missing or altered."""
    directory = data_directory(data_dir)
    states = {name: inspect(get_data_set(name), directory) for name in (names or DATA_SETS)}
    if json:
        output.print_json(
            {name: {"state": state, "message": text} for name, (state, text) in states.items()}
        )
    else:
        for _, text in states.values():
            output.out.print(text, markup=False, soft_wrap=True)
    if any(state != "verified" for state, _ in states.values()):
        raise typer.Exit(1)
