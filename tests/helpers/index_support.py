"""Stores of made records, and what the index beside them holds."""

import shutil
from pathlib import Path
from typing import Any

from cli_support import make_record

from cab.records.store import Record, RecordStore
from cab.tracking.connection import Tracking


def records(count: int, **fields: Any) -> list[Record]:
    return [make_record(f"{n:032x}", seed=n, minutes=n, **fields) for n in range(count)]


def filled(root: Path, empty: Path, count: int = 4, **fields: Any) -> RecordStore:
    """A store of some records with an empty index."""
    store = RecordStore(root)
    for record in records(count, **fields):
        store.write(record)
    shutil.copy(empty, root / "mlflow.db")
    return store


def runs_of(store: RecordStore) -> list[Any]:
    """All runs that are not deleted, commands' too."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=Tracking.of_store(store.root).uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, max_results=1000))


def keys_of(store: RecordStore) -> list[str]:
    return sorted(r.data.tags["cab.key"] for r in runs_of(store) if "cab.key" in r.data.tags)
