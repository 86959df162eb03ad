"""MLflow as an index of the records: searchable, with curves; it can be lost and made again.

Each record becomes one run (experiment cab/<profile>/<task>) below a parent run per command.
Everything in a run comes from its record, so that `cab index` rebuilds the same database.
"""

import contextlib
import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from cab.records import Record

KEY_TAG, DIGEST_TAG, INVOCATION_TAG = "cab.key", "cab.record", "cab.invocation"
BATCH = 1000
"""MLflow's limit of metrics in one call; 100 is that of parameters and of tags."""


@dataclass(frozen=True)
class Tracking:
    """Where the index is: an MLflow tracking URI, and the folder of its artifacts."""

    uri: str
    artifacts: Path
    lock: Path

    @classmethod
    def of_store(cls, root: Path, uri: str | None = None) -> "Tracking":
        """The index of a store: <root>/mlflow.db unless a tracking URI is given."""
        root = root.resolve()
        return cls(
            uri or f"sqlite:///{root / 'mlflow.db'}", root / "artifacts", root / "mlflow.lock"
        )


@dataclass(frozen=True)
class Indexed:
    """What a call of `index` changed."""

    added: int = 0
    replaced: int = 0
    removed: int = 0
    present: int = 0


def index(
    records: Iterable[Record],
    tracking: Tracking,
    *,
    complete: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Indexed:
    """Make the index hold these records; one that it holds already, unchanged, is left alone.

    complete says that these are all the records there are: runs of others are then removed, and
    runs that a killed process left open are closed.
    """
    with _locked(tracking):
        client = _client(tracking)
        runs = _runs_by_key(client, f"tags.`{KEY_TAG}` != ''") if complete else {}
        counts = {"added": 0, "replaced": 0, "removed": 0, "present": 0}
        # A command's run takes its times from its first record, so records come in that order.
        for record in sorted(records, key=lambda record: (record.provenance.started, record.key)):
            if not complete:
                runs = _runs_by_key(client, f"tags.`{KEY_TAG}` = '{record.key}'")
            old = runs.pop(record.key, None)
            advance()
            if old is not None and old.data.tags.get(DIGEST_TAG) == _digest(record):
                counts["present"] += 1
                continue
            if old is not None:
                client.delete_run(old.info.run_id)
            counts["added" if old is None else "replaced"] += 1
            _add(client, record, tracking)
        if complete:
            for stale in runs.values():
                client.delete_run(stale.info.run_id)
            counts["removed"] = len(runs)
            _close_open_runs(client)
    return Indexed(**counts)


class LiveIndex:
    """Indexes records in a thread of its own while cells run, so that no cell waits for it.

    `start` lets the thread import MLflow and set its database up before the first record.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.problem = ""

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._work, name="mlflow-index", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Index a record soon."""
        self.start()
        self._queue.put(record)

    def close(self) -> None:
        """Wait until all records are indexed."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        self._try([])
        while (record := self._queue.get()) is not None:
            self._try([record])

    def _try(self, records: list[Record]) -> None:
        try:
            index(records, self._tracking)
        except Exception as error:  # a failing index must not cost a result
            self.problem = f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _locked(tracking: Tracking) -> Iterator[None]:
    """Keep other processes out: MLflow's migrations race on an empty database."""
    tracking.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(tracking.lock):
        yield


def _client(tracking: Tracking) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import logging

    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking.uri)


def _all_runs(client: Any, condition: str) -> Iterator[Any]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    token = None
    while experiments:
        page = client.search_runs(experiments, condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _runs_by_key(client: Any, condition: str) -> dict[str, Any]:
    """The finished runs of cells; half-written ones are deleted on the way."""
    runs: dict[str, Any] = {}
    for run in _all_runs(client, condition):
        key = run.data.tags[KEY_TAG]
        if run.info.end_time is None or key in runs:
            client.delete_run(run.info.run_id)
        else:
            runs[key] = run
    return runs


def _close_open_runs(client: Any) -> None:
    for run in _all_runs(client, "attributes.status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, status="KILLED")


def _digest(record: Record) -> str:
    return hashlib.sha256(record.to_json().encode()).hexdigest()


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _experiment(client: Any, record: Record, tracking: Tracking) -> str:
    name = f"cab/{record.task.profile}/{record.task.name}"
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    local = tracking.uri.startswith("sqlite:")
    location = (tracking.artifacts / record.task.profile / record.task.name).as_uri()
    return str(client.create_experiment(name, artifact_location=location if local else None))


def _parent(client: Any, record: Record, experiment: str) -> str:
    """The run that stands for the command which made this record, one per experiment."""
    invocation = record.provenance.invocation
    condition = f"tags.`{INVOCATION_TAG}` = '{invocation}'"
    found = client.search_runs([experiment], condition, max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(
        experiment,
        start_time=_milliseconds(record.provenance.started),
        run_name=record.provenance.command[:200],
        tags={INVOCATION_TAG: invocation, "cab.command": record.provenance.command},
    )
    client.set_terminated(run.info.run_id, end_time=_milliseconds(record.provenance.ended))
    return str(run.info.run_id)


def _add(client: Any, record: Record, tracking: Tracking) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    experiment = _experiment(client, record, tracking)
    parent = _parent(client, record, experiment)
    started = _milliseconds(record.provenance.started)
    ended = _milliseconds(record.provenance.ended)
    run = client.create_run(
        experiment,
        start_time=started,
        run_name=f"{record.variant.name} seed {record.seed}",
        tags={**_tags(record), "mlflow.parentRunId": parent},
    )
    run_id = run.info.run_id
    metrics = [Metric(name, value, ended, step) for name, value, step in _metrics(record)]
    params = [Param(name, str(value)[:6000]) for name, value in _params(record).items()]
    for start in range(0, max(len(metrics), len(params)), BATCH):
        client.log_batch(run_id, metrics[start : start + BATCH], params[start : start + 100])
    if record.task.data_fingerprint is not None:
        dataset = Dataset(
            name=f"{record.task.name} v{record.task.version}",
            digest=record.task.data_fingerprint[:36],
            source_type="cab",
            source=record.task.name,
        )
        client.log_inputs(
            run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "test")])]
        )
    client.log_text(run_id, record.to_json(), "record.json")
    status = "FINISHED" if record.status == "ok" else "FAILED"
    client.set_terminated(run_id, status=status, end_time=ended)


def _tags(record: Record) -> dict[str, str]:
    tags = {
        KEY_TAG: record.key,
        DIGEST_TAG: _digest(record),
        "cab.variant": record.variant.name,
        "cab.variant_hash": record.variant.source_hash,
        "cab.task": record.task.name,
        "cab.task_version": str(record.task.version),
        "cab.profile": record.task.profile,
        "cab.pattern": record.task.pattern,
        "cab.domain": record.task.domain,
        "cab.seed": str(record.seed),
        "cab.status": record.status,
        "cab.device": record.environment.device,
        "cab.accelerator": record.environment.accelerator,
        "cab.git": record.provenance.git_revision or "",
    }
    if record.message:
        tags["cab.message"] = record.message[:5000]
    return tags


def _params(record: Record) -> dict[str, Any]:
    """The settings, flattened: variant.window, recipe.train.steps, seed ..."""
    settings = {
        "variant": {"name": record.variant.name, **record.variant.config},
        "recipe": record.settings.recipe,
        "seed": record.seed,
    }
    return dict(_flatten(settings, ""))


def _flatten(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _metrics(record: Record) -> Iterator[tuple[str, float, int]]:
    """Every number of a record, as (name, value, step)."""
    for point in record.curve:
        yield "train_loss", point.loss, point.step
        for name, value in point.valid.items():
            yield f"valid_{name}", value, point.step
    last = record.cost.steps or 0
    for name, estimate in record.metrics.test.items():
        yield f"test_{name}", estimate.value, last
        yield f"test_{name}_standard_error", estimate.standard_error, last
    for name, estimate in record.shortcuts.items():
        yield f"shortcut_{name}", estimate.value, last
    for name, number in record.cost.model_dump(exclude_none=True).items():
        yield f"cost_{name}", float(number), last
