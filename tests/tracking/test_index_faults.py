"""What goes wrong with an index: a refused record, no database, a full disk, no answer."""

import contextlib
import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab, cab_here, make_record

from cab.errors import CabError
from cab.records.store import Record, RecordStore
from cab.tracking import live as live_module
from cab.tracking.connection import IndexFailed, Tracking, sqlite_address
from cab.tracking.index import Indexed, Refused, index, refusals
from cab.tracking.live import LiveIndex

SMOKE = ("run", "--profile", "smoke", "--variant", "none", "--task", "mqar")
REASON = "Invalid value for parameter 'metrics[8].name'"


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


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system with room for the index's database and little else."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "cab-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs leave to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def short_files(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond a size, as under a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_a_full_disk_is_said(said: Any) -> None:
    assert said.code == 2, (said.out, said.err)
    assert said.out == ""
    assert "cannot be used" in said.err
    assert "records were indexed" in said.err
    assert "Traceback" not in said.err
    assert said.err.count("cannot be used") == 1


def test_a_full_disk_loses_nothing_and_is_said(tmp_path: Path, empty: Path) -> None:
    root = tmp_path / "disk"
    with small_disk(root):
        store = filled(root, empty, 6, message="x" * 20_000)
        room = shutil.disk_usage(root).free
        filler = root / "filler"
        filler.write_bytes(b"x" * max(0, room - 48_000))
        assert_a_full_disk_is_said(cab_here("index", "--store", root))
        assert len(store.load()[0]) == 6
        filler.unlink()
        again = cab_here("index", "--store", root, "--json")
        assert again.code == 0, again.err
        assert again.document["added"] + again.document["present"] == 6
        assert keys_of(store) == [f"{n:032x}" for n in range(6)]


def test_a_quota_loses_nothing_and_is_said(tmp_path: Path, empty: Path) -> None:
    store = filled(tmp_path, empty, 6, message="x" * 20_000)
    size = (tmp_path / "mlflow.db").stat().st_size
    with short_files(size + 16_384):
        said = cab_here("index", "--store", tmp_path)
    assert_a_full_disk_is_said(said)
    assert len(store.load()[0]) == 6
    again = cab_here("index", "--store", tmp_path, "--json")
    assert again.code == 0, again.err
    assert again.document["added"] + again.document["present"] == 6
    assert keys_of(store) == [f"{n:032x}" for n in range(6)]


@pytest.mark.parametrize("name", ["q #?%25", "a b", "100%", "x?mode=memory", "line\nbreak"])
def test_a_store_of_any_name_has_its_index_inside_and_nothing_beside_it(
    tmp_path: Path, empty: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = filled(tmp_path / name, empty, 2)
    assert cab_here("index", "--store", tmp_path / name, "--json").document["added"] == 2
    assert cab_here("index", "--store", tmp_path / name, "--json").document["present"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]
    there = {path.name for path in (tmp_path / name).iterdir()}
    assert there == {"artifacts", "mlflow.db", "mlflow.lock", "records"}
    assert len(list((tmp_path / name / "artifacts").rglob("record.json"))) == 2
    assert keys_of(store) == [f"{n:032x}" for n in range(2)]


def test_a_plain_path_is_written_as_it_is() -> None:
    assert sqlite_address(Path("/a/b c-1.2/mlflow.db")) == "sqlite:////a/b c-1.2/mlflow.db"
    assert sqlite_address(Path("/a%20/x")) == "sqlite+pysqlite:////a%2520/x"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    RecordStore(tmp_path).write(make_record())
    for scheme in ("postgresql+psycopg", "http"):
        uri = f"{scheme}://user:secret@127.0.0.1:9/name"
        said = cab_here("index", "--store", tmp_path, "--tracking-uri", uri)
        assert said.code == 2
        assert "secret" not in said.err
        assert f"{scheme}://user:***@127.0.0.1:9/name" in said.err


def test_a_damaged_mark_of_a_store_is_said_and_an_empty_one_is_made_anew(tmp_path: Path) -> None:
    tracking = Tracking.of_store(tmp_path, "http://127.0.0.1:9")
    mark = tmp_path / "store-id"
    mark.write_text("' or tags.`x` = '")
    with pytest.raises(CabError, match="is damaged"):
        tracking.marks()
    mark.write_text("")
    first = tracking.marks()
    assert len(first["cab.store"]) == 32
    assert tracking.marks() == first


def test_a_server_that_is_down_raises_how_far_it_came(tmp_path: Path) -> None:
    with pytest.raises(IndexFailed, match="the server does not answer") as raised:
        index(records(2), Tracking.of_store(tmp_path, "http://127.0.0.1:9"))
    assert raised.value.indexed == 0
