"""MLflow is an index of the records: it can be lost, made again, and is then the same."""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab_here, make_record, write_variant

from cab.records.store import Record, RecordStore
from cab.tracking.index import Tracking, index

SMOKE = ("run", "--profile", "smoke", "--unchecked")
RUN = (*SMOKE, "--variant", "broken", "--variant", "none", "--seeds", "2")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that two commands filled, with MLflow following: good cells and failing ones."""
    folder = tmp_path_factory.mktemp("live")
    path = write_variant(folder, "broken", "return q * float('nan')")
    tasks = ("--task", "mqar", "--task", "regress", "--store", folder / "store")
    for command in ((*RUN, "--include", path), (*SMOKE, "--variant", "mean")):
        said = cab_here(*command, *tasks)
        assert said.code == 0, said.err
    return folder / "store"


def client_of(store: Path) -> Any:
    """A client of a copy of the index, since MLflow keeps a database open once it has seen it."""
    from mlflow.tracking import MlflowClient

    copy = store / f"copy-{time.monotonic_ns()}.db"
    shutil.copy(store / "mlflow.db", copy)
    return MlflowClient(tracking_uri=f"sqlite:///{copy}")


def runs_of(client: Any) -> list[Any]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, max_results=1000))


def content(store: Path) -> dict[str, Any]:
    """All that the index holds, by cell key or command, without MLflow's own identifiers."""
    client = client_of(store)
    names = {one.experiment_id: one.name for one in client.search_experiments()}
    runs = runs_of(client)
    parents = {run.info.run_id: run.data.tags.get("cab.invocation") for run in runs}
    found = {}
    for run in runs:
        tags = dict(run.data.tags)
        experiment = names[run.info.experiment_id]
        name = tags.get("cab.key") or f"{experiment} {tags['cab.invocation']}"
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = parents[tags["mlflow.parentRunId"]]
        history = {
            metric: [
                (point.step, point.value, point.timestamp)
                for point in client.get_metric_history(run.info.run_id, metric)
            ]
            for metric in run.data.metrics
        }
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        listed = [one.path for one in client.list_artifacts(run.info.run_id)]
        datasets = [
            (one.dataset.name, one.dataset.digest, [(tag.key, tag.value) for tag in one.tags])
            for one in run.inputs.dataset_inputs
        ]
        info = run.info
        assert name not in found, f"{name} is there twice"
        found[name] = {
            "experiment": experiment,
            "name": info.run_name,
            "status": info.status,
            "times": (info.start_time, info.end_time),
            "tags": tags,
            "params": dict(run.data.params),
            "metrics": {name: sorted(points) for name, points in history.items()},
            "artifacts": {name: (folder / name).read_text() for name in listed},
            "datasets": datasets,
        }
    return found


def records_of(store: Path) -> dict[str, Record]:
    records, problems = RecordStore(store).load()
    assert problems == []
    return {record.key: record for record in records}


def test_the_live_index_holds_what_the_records_hold(live: Path) -> None:
    found, records = content(live), records_of(live)
    assert len(records) == 10
    assert len(found) == 10 + 2 * 2  # and one parent per command and experiment
    for key, record in records.items():
        run = found[key]
        assert run["experiment"] == f"cab/smoke/{record.task.name}"
        assert run["status"] == ("FINISHED" if record.status == "ok" else "FAILED")
        assert run["artifacts"] == {"record.json": record.to_json()}
        assert run["tags"]["cab.status"] == record.status
        assert run["tags"]["mlflow.parentRunId"] == record.provenance.invocation
        assert run["params"]["recipe.train.steps"] == "4"
        assert run["params"]["seed"] == str(record.seed)
        losses = [(point.step, point.loss) for point in record.curve]
        assert [point[:2] for point in run["metrics"].get("train_loss", [])] == losses
        for name, estimate in record.metrics.test.items():
            assert [point[1] for point in run["metrics"][f"test_{name}"]] == [estimate.value]
        assert run["times"][0] == int(record.provenance.started.timestamp() * 1000)
        assert [one[1] for one in run["datasets"]] == [str(record.task.data_fingerprint)[:36]]


def test_an_index_made_from_records_alone_equals_the_live_one(live: Path, tmp_path: Path) -> None:
    shutil.copytree(live / "records", tmp_path / "records")
    said = cab_here("index", "--store", tmp_path, "--json")
    assert said.code == 0
    assert said.document["added"] == 10
    before, after = content(live), content(tmp_path)
    assert after.keys() == before.keys()
    for name, run in before.items():
        assert after[name] == run, name
    # And indexing again changes nothing, here and in the live one.
    for store in (live, tmp_path):
        again = cab_here("index", "--store", store, "--json").document
        changes = {key: again[key] for key in ("added", "replaced", "present", "removed")}
        assert changes == {"added": 0, "replaced": 0, "present": 10, "removed": 0}
        assert content(store) == before


def new_index(root: Path, empty: Path, records: Iterable[Record]) -> Tracking:
    root.mkdir(exist_ok=True)
    shutil.copy(empty, root / "mlflow.db")
    tracking = Tracking.of_store(root)
    index(records, tracking, complete=True)
    return tracking


@pytest.fixture
def small(tmp_path: Path, empty: Path) -> tuple[RecordStore, Tracking]:
    store = RecordStore(tmp_path / "small")
    for n in range(3):
        store.write(made(n))
    return store, new_index(store.root, empty, store.load()[0])


def made(n: int, command: int | None = None, **fields: Any) -> Record:
    """The n-th record, of a command of its own unless said otherwise."""
    record = make_record(f"{n:032x}", seed=n, minutes=n, **fields)
    invocation = f"command-{n if command is None else command}"
    provenance = record.provenance.model_copy(update={"invocation": invocation})
    return record.model_copy(update={"provenance": provenance})


def test_a_record_that_changed_or_went_is_followed(
    small: tuple[RecordStore, Tracking], empty: Path, tmp_path: Path
) -> None:
    store, tracking = small
    store.path(f"{0:032x}").unlink()
    store.write(made(1, value=0.75))
    done = index(store.load()[0], tracking, complete=True)
    assert (done.added, done.replaced, done.present, done.removed) == (0, 1, 1, 1)
    found = content(store.root)
    assert {name for name in found if not name.startswith("cab/")} == {f"{n:032x}" for n in (1, 2)}
    assert found[f"{1:032x}"]["metrics"]["test_accuracy"][0][1] == 0.75
    # The same as if it had been made anew: nothing is left of the record that went.
    new_index(tmp_path / "fresh", empty, store.load()[0])
    assert found == content(tmp_path / "fresh")


def test_a_cell_that_ran_again_leaves_the_index_that_its_records_give(
    empty: Path, tmp_path: Path
) -> None:
    first, second, again = made(1, command=7), made(2, command=7), made(1, command=8, value=0.75)
    tracking = new_index(tmp_path / "live", empty, [first, second])
    index([again], tracking)  # as a run does, which knows of its own cells alone
    index([again, second], tracking, complete=True)
    new_index(tmp_path / "fresh", empty, [again, second])
    assert content(tmp_path / "live") == content(tmp_path / "fresh")


def test_without_all_records_at_hand_nothing_is_removed(
    small: tuple[RecordStore, Tracking],
) -> None:
    store, tracking = small
    done = index([made(7)], tracking)
    assert (done.added, done.removed) == (1, 0)
    assert len([name for name in content(store.root) if not name.startswith("cab/")]) == 4


def test_runs_that_a_killed_process_left_open_are_closed(
    small: tuple[RecordStore, Tracking],
) -> None:
    from mlflow.tracking import MlflowClient

    store, tracking = small
    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name("cab/quick/mqar").experiment_id
    half = client.create_run(experiment, tags={"cab.key": f"{2:032x}", "cab.record": "half"})
    stray = client.create_run(experiment, tags={"cab.invocation": "killed"})
    index(store.load()[0], tracking, complete=True)
    copy = client_of(store.root)
    assert {run.info.status for run in runs_of(copy)} == {"FINISHED", "KILLED"}
    assert copy.get_run(stray.info.run_id).info.status == "KILLED"
    assert copy.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    keys = [run.data.tags.get("cab.key") for run in runs_of(copy)]
    assert sorted(filter(None, keys)) == [f"{n:032x}" for n in range(3)]
