"""`cab index`: bring MLflow in line with the records."""

import typer
from rich.progress import Progress

from cab.commands import output
from cab.commands.options import DEFAULT_STORE, Json, Store, TrackingUri


def index(
    store: Store = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Make the MLflow index hold the store's records, all of them and no others.

    Exit 1 if a file of the store is no record; it is named and left as it is.
    """
    from cab.records.store import RecordStore
    from cab.tracking.index import Tracking
    from cab.tracking.index import index as index_records

    records, problems = RecordStore(store).load()
    for problem in problems:
        output.warn(problem)
    tracking = Tracking.of_store(store, tracking_uri)
    with Progress(console=output.err, disable=not output.err.is_terminal) as bar:
        task = bar.add_task("Indexing", total=len(records))
        done = index_records(records, tracking, complete=True, advance=lambda: bar.advance(task))
    if json:
        output.print_json({**output.plain(done), "uri": tracking.uri, "problems": problems})
    else:
        output.out.print(
            f"{len(records)} records in {tracking.uri}: {done.added} added, {done.replaced} "
            f"replaced, {done.present} there already, {done.removed} without a record removed.",
            markup=False,
            soft_wrap=True,
        )
    if problems:
        raise typer.Exit(1)
