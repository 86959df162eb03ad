"""`cab index`: bring MLflow in line with the records."""

import typer
from rich.progress import Progress

from cab.commands.common import output
from cab.commands.common.options import DEFAULT_STORE, Json, Store, TrackingUri


def index(
    store: Store = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Make the MLflow index hold exactly the store's records.

    Exit code 1 if a file in the store is not a record, or if MLflow refuses a record: each is
    named, and the others are indexed. Exit code 2 if MLflow cannot be used.
    """
    from cab.records.store import RecordStore
    from cab.tracking.connection import Tracking
    from cab.tracking.index import index as index_records
    from cab.tracking.index import refusals

    records, problems = RecordStore(store).load()
    for problem in problems:
        output.warn(problem)
    tracking = Tracking.of_store(store, tracking_uri)
    with Progress(console=output.err, disable=not output.err.is_terminal) as bar:
        task = bar.add_task("Indexing", total=len(records))
        done = index_records(records, tracking, complete=True, advance=lambda: bar.advance(task))
    if done.refused:
        output.warn(refusals(done.refused, len(records)))
    if json:
        output.print_json({**output.plain(done), "uri": tracking.shown, "problems": problems})
    else:
        output.out.print(
            f"{len(records) - len(done.refused)} records in {tracking.shown}: {done.added} added, "
            f"{done.replaced} replaced, {done.present} unchanged, {done.removed} removed.",
            markup=False,
            soft_wrap=True,
        )
    if problems or done.refused:
        raise typer.Exit(1)
