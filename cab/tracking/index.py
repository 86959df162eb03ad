"""MLflow as an index of the records: searchable, with curves; it can be lost and made again.

Each record becomes one run (experiment cab/<profile>/<task>) below a parent run per command.
Everything in a run comes from its record, so that `cab index` rebuilds the same database.

On a server that a team shares, every run carries its store's mark, and a store's index touches no
run without it: neither those of another store, whatever cells it holds, nor what is not CAB's.
"""

import contextlib
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from cab.errors import CabError
from cab.records.store import Record
from cab.tracking.runs import DIGEST_TAG, KEY_TAG, PARENT_TAG, digest, milliseconds, write_run

INVOCATION_TAG, STORE_TAG = "cab.invocation", "cab.store"

_Command = tuple[str, str]


@dataclass(frozen=True)
class Tracking:
    """Where the index is: an MLflow tracking URI, and the folder of its artifacts.

    shared: it may hold more than this store's runs.
    """

    uri: str
    artifacts: Path
    lock: Path
    shared: bool = False

    @classmethod
    def of_store(cls, root: Path, uri: str | None = None) -> "Tracking":
        """The index of a store: <root>/mlflow.db unless a tracking URI is given."""
        root = root.resolve()
        return cls(
            uri or f"sqlite:///{root / 'mlflow.db'}",
            root / "artifacts",
            root / "mlflow.lock",
            shared=uri is not None,
        )

    def marks(self) -> dict[str, str]:
        """The tags that tell this store's runs from others; none if there are no others."""
        if not self.shared:
            return {}
        path = self.lock.with_name("store-id")
        if not path.exists():
            path.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
        return {STORE_TAG: path.read_text(encoding="utf-8").strip()}


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
    ordered = sorted(records, key=lambda record: (record.provenance.started, record.key))
    with _locked(tracking), _explained(tracking):
        client, marks = _client(tracking), tracking.marks()
        own = "".join(f" and tags.`{tag}` = '{value}'" for tag, value in marks.items())
        parents = _sync_parents(client, ordered, tracking, complete, own)
        runs = _runs_by_key(client, f"tags.`{KEY_TAG}` != ''{own}") if complete else {}
        counts = {"added": 0, "replaced": 0, "removed": 0, "present": 0}
        for record in ordered:
            if not complete:
                runs = _runs_by_key(client, f"tags.`{KEY_TAG}` = '{record.key}'{own}")
            counts[_sync_run(client, record, runs.pop(record.key, None), parents, marks)] += 1
            advance()
        if complete:
            for stale in runs.values():
                client.delete_run(stale.info.run_id)
            counts["removed"] = len(runs)
            for run in _all_runs(client, f"attributes.status = 'RUNNING'{own}"):
                client.set_terminated(run.info.run_id, status="KILLED")
    return Indexed(**counts)


@contextlib.contextmanager
def _locked(tracking: Tracking) -> Iterator[None]:
    """Keep other processes out: MLflow's migrations race on an empty database."""
    try:
        tracking.lock.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(tracking.lock)
        lock.acquire()
    except OSError as error:
        raise CabError(f"{tracking.lock.parent} cannot be written: {error}.") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _explained(tracking: Tracking) -> Iterator[None]:
    """Turn what MLflow raises into a sentence."""
    try:
        yield
    except CabError:
        raise
    except Exception as error:  # MLflow raises what its store or its network library raises
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise CabError(f"MLflow at {tracking.uri} cannot be used: {first[0]}.") from error


def _client(tracking: Tracking) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Before a server MLflow says the address of every run on stdout, where results stand.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A server that is down is to be known in seconds, not after seven tries of growing length.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import logging

    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
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


def _sync_run(
    client: Any,
    record: Record,
    old: Any | None,
    parents: Mapping[_Command, tuple[str, str]],
    marks: Mapping[str, str],
) -> Literal["added", "replaced", "present"]:
    experiment, parent = parents[_command(record)]
    if old is not None and old.data.tags.get(DIGEST_TAG) == digest(record):
        if old.data.tags.get(PARENT_TAG) != parent:
            client.set_tag(old.info.run_id, PARENT_TAG, parent)
        return "present"
    if old is not None:
        client.delete_run(old.info.run_id)
    write_run(client, record, experiment, {**marks, PARENT_TAG: parent})
    return "added" if old is None else "replaced"


def _command(record: Record) -> _Command:
    """What a parent run stands for: one command's cells of one experiment."""
    return f"cab/{record.task.profile}/{record.task.name}", record.provenance.invocation


def _sync_parents(
    client: Any, records: Sequence[Record], tracking: Tracking, complete: bool, own: str
) -> dict[_Command, tuple[str, str]]:
    """Make each command's run span its records; return (experiment, run) of each command.

    With all records at hand, a run that spans others is made anew, and one of none is deleted.
    """
    grouped: dict[_Command, list[Record]] = defaultdict(list)
    for record in records:
        grouped[_command(record)].append(record)
    experiments = {name: _experiment(client, name, tracking) for name, _ in grouped}
    condition = f"tags.`{INVOCATION_TAG}` != ''"
    if not complete and records:
        condition = f"tags.`{INVOCATION_TAG}` = '{records[0].provenance.invocation}'"
    there = {
        (run.info.experiment_id, run.data.tags[INVOCATION_TAG]): run
        for run in (_all_runs(client, condition + own) if records or complete else ())
    }
    parents = {}
    for (name, invocation), its in grouped.items():
        experiment = experiments[name]
        old = there.pop((experiment, invocation), None)
        parents[name, invocation] = (
            experiment,
            _sync_parent(client, experiment, its, old, complete, tracking.marks()),
        )
    if complete:
        for run in there.values():
            if run.info.end_time is not None:  # an open one is closed, by `index`
                client.delete_run(run.info.run_id)
    return parents


def _sync_parent(
    client: Any,
    experiment: str,
    records: Sequence[Record],
    old: Any | None,
    complete: bool,
    marks: Mapping[str, str],
) -> str:
    started = min(milliseconds(record.provenance.started) for record in records)
    ended = max(milliseconds(record.provenance.ended) for record in records)
    if old is not None and (
        not complete or (old.info.start_time, old.info.end_time) == (started, ended)
    ):
        if ended > (old.info.end_time or 0):
            client.set_terminated(old.info.run_id, end_time=ended)
        return str(old.info.run_id)
    if old is not None:
        client.delete_run(old.info.run_id)
    command = records[0].provenance.command
    run = client.create_run(
        experiment,
        start_time=started,
        run_name=command[:200],
        tags={
            INVOCATION_TAG: records[0].provenance.invocation,
            "cab.command": command,
            **marks,
        },
    )
    client.set_terminated(run.info.run_id, end_time=ended)
    return str(run.info.run_id)


def _experiment(client: Any, name: str, tracking: Tracking) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    local = tracking.uri.startswith("sqlite:")
    location = (tracking.artifacts / name.removeprefix("cab/")).as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=location if local else None))
    except Exception:
        # Another store's index may have made it in between: then it is there now.
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return str(experiment.experiment_id)
