"""What goes wrong with an index: a refused record, no database, no answer."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab, cab_here, make_record
from index_support import filled, keys_of, records, runs_of

from cab.records.store import RecordStore
from cab.tracking import live as live_module
from cab.tracking.connection import IndexFailed, Tracking
from cab.tracking.index import Indexed, Refused, index, refusals
from cab.tracking.live import LiveIndex

SMOKE = ("run", "--profile", "smoke", "--variant", "none", "--task", "mqar")
REASON = "Invalid value for parameter 'metrics[8].name'"


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The run names whose metrics MLflow refuses."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    names: set[str] = set()
    log_batch = MlflowClient.log_batch

    def refuses(client: Any, run_id: str, *entries: Any, **more: Any) -> Any:
        if client.get_run(run_id).info.run_name in names:
            raise MlflowException(f"{REASON}.\nmore of it")
        return log_batch(client, run_id, *entries, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", refuses)
    return names


def test_a_refused_record_is_named_and_the_others_are_indexed(
    tmp_path: Path, empty: Path, refusing: set[str]
) -> None:
    store = filled(tmp_path, empty, variant="linear", task="locate")
    refusing.add("linear seed 1")
    said = cab_here("index", "--store", tmp_path)
    assert said.code == 1
    sentence = f"MLflow refused 1 of 4 records: {1:032x} (linear on locate): {REASON}."
    assert " ".join(said.err.split()) == f"Note: {sentence}"
    assert "3 records in sqlite" in said.out
    assert "3 added" in said.out
    expected = [f"{n:032x}" for n in (0, 2, 3)]
    assert keys_of(store) == expected
    assert {run.info.status for run in runs_of(store)} == {"FINISHED"}  # and none half-written
    again = cab_here("index", "--store", tmp_path, "--json")
    assert again.code == 1
    assert again.document["present"] == 3
    assert [one["key"] for one in again.document["refused"]] == [f"{1:032x}"]
    refusing.clear()
    assert cab_here("index", "--store", tmp_path, "--json").document["added"] == 1
    assert keys_of(store) == [f"{n:032x}" for n in range(4)]


def test_a_live_index_counts_what_mlflow_took(
    tmp_path: Path, empty: Path, refusing: set[str]
) -> None:
    filled(tmp_path, empty)
    refusing.add("softmax seed 2")
    live = LiveIndex(Tracking.of_store(tmp_path))
    for record in records(4):
        live.add(record)
    live.close()
    assert live.problem == (
        f"MLflow refused 1 of 4 records: {2:032x} (softmax on mqar): {REASON}. They are kept in "
        "the store."
    )


def test_many_refusals_are_counted_and_few_are_named() -> None:
    refused = [Refused(f"{n}", f"v{n} on t", "why") for n in range(5)]
    assert refusals(refused[:1], 9) == "MLflow refused 1 of 9 records: 0 (v0 on t): why."
    assert refusals(refused, 9) == (
        "MLflow refused 5 of 9 records: 0 (v0 on t): why; 1 (v1 on t): why; 2 (v2 on t): why; "
        "and 2 more."
    )


def test_runs_without_tags_of_an_earlier_crash_are_removed(tmp_path: Path, empty: Path) -> None:
    from mlflow.tracking import MlflowClient

    store = filled(tmp_path, empty, 2)
    tracking = Tracking.of_store(tmp_path)
    index(store.load()[0], tracking, complete=True)
    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name("cab/quick/mqar").experiment_id
    stray = client.create_run(experiment).info.run_id
    theirs = client.create_run(client.create_experiment("not-of-cab")).info.run_id
    index(store.load()[0], tracking, complete=True)
    assert client.get_run(stray).info.lifecycle_stage == "deleted"
    assert client.get_run(theirs).info.status == "RUNNING"
    assert keys_of(store) == [f"{n:032x}" for n in range(2)]


def test_an_experiment_that_was_deleted_in_mlflow_comes_back(tmp_path: Path, empty: Path) -> None:
    from mlflow.tracking import MlflowClient

    store = filled(tmp_path, empty, 2)
    tracking = Tracking.of_store(tmp_path)
    index(store.load()[0], tracking, complete=True)
    client = MlflowClient(tracking_uri=tracking.uri)
    client.delete_experiment(client.get_experiment_by_name("cab/quick/mqar").experiment_id)
    assert index(store.load()[0], tracking, complete=True).refused == ()
    assert keys_of(store) == [f"{n:032x}" for n in range(2)]


def spoil_with_a_folder(root: Path) -> None:
    (root / "mlflow.db").mkdir(parents=True)


def spoil_with_bytes(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "mlflow.db").write_bytes(b"no database" * 1000)


def spoil_with_a_link(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "mlflow.db").symlink_to(root / "missing" / "mlflow.db")


def spoil_with_a_loop(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "mlflow.db").symlink_to(root / "mlflow.db")


SPOILERS = [spoil_with_a_folder, spoil_with_bytes, spoil_with_a_link, spoil_with_a_loop]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_database_that_cannot_be_opened_is_given_up_on_in_seconds(
    tmp_path: Path, spoil: Any
) -> None:
    store = RecordStore(tmp_path)
    spoil(tmp_path)
    for record in records(3):
        store.write(record)
    began = time.monotonic()
    said = cab_here("index", "--store", tmp_path)
    assert time.monotonic() - began < 20
    assert said.code == 2
    assert said.out == ""
    assert f"MLflow at sqlite:///{tmp_path}/mlflow.db cannot be used:" in said.err
    assert "0 of 3 records were indexed" in said.err
    assert ".." not in said.err.replace("...", "")
    assert len(store.load()[0]) == 3
    live = LiveIndex(Tracking.of_store(tmp_path))
    for record in records(3):
        live.add(record)
    live.close()
    assert time.monotonic() - began < 30
    assert live.problem.startswith("MLflow took no record: MLflow at sqlite:///")
    assert live.problem.endswith(". All records are kept; run `cab index` to index the rest.")


def test_an_address_below_a_file_is_given_up_on_in_seconds(tmp_path: Path) -> None:
    RecordStore(tmp_path / "store").write(make_record())
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    began = time.monotonic()
    said = cab_here("index", "--store", tmp_path / "store", "--tracking-uri", uri)
    assert time.monotonic() - began < 20
    assert said.code == 2
    assert "cannot be used" in said.err


def test_a_run_beside_a_broken_index_keeps_its_records_and_says_once_how_to_catch_up(
    tmp_path: Path,
) -> None:
    spoil_with_a_folder(tmp_path / "store")
    began = time.monotonic()
    said = cab(*SMOKE, "--seeds", "2", "--store", tmp_path / "store", cwd=tmp_path)
    assert time.monotonic() - began < 90
    assert said.code == 0, said.err
    assert said.err.count("MLflow took no record") == 1
    assert "run `cab index`" in " ".join(said.err.split())
    assert "Traceback" not in said.err
    store = RecordStore(tmp_path / "store")
    assert len(store.load()[0]) == 2
    (tmp_path / "store" / "mlflow.db").rmdir()
    assert cab_here("index", "--store", store.root, "--json").document["added"] == 2


def test_the_end_of_a_run_waits_for_a_stuck_index_no_longer_than_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(live_module, "PATIENCE", 0.5)

    def hangs(*asked: Any, **more: Any) -> Indexed:
        stuck.wait(60)
        return Indexed()

    monkeypatch.setattr(live_module, "index", hangs)
    live = LiveIndex(Tracking.of_store(tmp_path))
    live.add(make_record())
    began = time.monotonic()
    live.close()
    assert 0.4 < time.monotonic() - began < 10
    assert "MLflow took no record: " in live.problem
    assert "has not answered for 0.5 s" in live.problem
    stuck.set()


def test_a_server_that_is_down_raises_how_far_it_came(tmp_path: Path) -> None:
    with pytest.raises(IndexFailed, match="the server does not answer") as raised:
        index(records(2), Tracking.of_store(tmp_path, "http://127.0.0.1:9"))
    assert raised.value.indexed == 0
