"""MLflow for teams: a real server, on SQLite and on PostgreSQL, that several stores share."""

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab, finish, make_record, start_cab, wait_until, write_variant
from servers import MlflowServer, postgres, postgres_binary
from sweep_support import command, plug_in, stored

from cab.records.store import Estimate, Record, RecordStore
from cab.tracking.connection import Tracking
from cab.tracking.index import index

NEEDS_POSTGRES = pytest.mark.skipif(
    postgres_binary("initdb") is None, reason="needs PostgreSQL's own programs (apt: postgresql)"
)


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRES)],
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlflowServer]:
    with contextlib.ExitStack() as stack:
        backend = f"sqlite:///{tmp_path / 'server.db'}"
        if request.param == "postgresql":
            backend = stack.enter_context(postgres())
        made = MlflowServer(tmp_path, backend)
        stack.callback(made.kill)
        made.start()
        yield made


def client_of(server: MlflowServer) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=server.uri)


def cells_in(server: MlflowServer) -> list[Any]:
    """The runs of cells on a server, of whatever store."""
    client = client_of(server)
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, max_results=1000)
    return [run for run in found if "cab.key" in run.data.tags]


@pytest.mark.slow
def test_a_server_killed_during_a_sweep_costs_nothing_and_a_team_shares_it(
    server: MlflowServer, tmp_path: Path
) -> None:
    plugged = plug_in(tmp_path)
    gate = tmp_path / "gate"
    gate.touch()
    waits = f"while os.path.exists({str(gate)!r}): time.sleep(0.05)\n        return q"
    path = write_variant(tmp_path, "waits", waits)
    more = ("--include", path, "--tracking", "mlflow", "--tracking-uri", server.uri)
    sweep = command(tmp_path / "store", *more, seeds=2, variant="mean,waits")
    process = start_cab(*sweep, cwd=tmp_path, **plugged)
    client = client_of(server)
    experiment = "cab/smoke/trivial"
    assert wait_until(lambda: client.get_experiment_by_name(experiment), 180), finish(process)
    assert wait_until(lambda: len(cells_in(server)) == 2, 60)
    server.kill()
    gate.unlink()
    said = finish(process, 300)
    assert said.code == 0, said.err
    words = " ".join(said.err.split())
    # The server was killed after it began the second run, perhaps before it ended it.
    assert len(re.findall("MLflow took only [12] of 4 records: MLflow at http://", words)) == 1
    assert "All records are kept; run `cab index` to index the rest." in words
    keys = stored(tmp_path / "store").keys()
    assert len(keys) == 4

    server.start()
    index = ("index", "--tracking-uri", server.uri, "--json", "--store")

    def indexed(store: Path) -> dict[str, int]:
        done = cab(*index, store, cwd=tmp_path, **plugged)
        assert done.code == 0, done.err
        names = ("added", "replaced", "present", "removed")
        return {name: done.document[name] for name in names if done.document[name]}

    first = indexed(tmp_path / "store")
    assert first.keys() <= {"added", "present"}
    assert sum(first.values()) == 4
    assert indexed(tmp_path / "store") == {"present": 4}
    assert Counter(run.data.tags["cab.key"] for run in cells_in(server)) == dict.fromkeys(keys, 1)

    # Somebody else's store holds some of the same cells, and somebody trains beside CAB.
    training = client.create_run(client.create_experiment("not-of-cab")).info.run_id
    shutil.copytree(tmp_path / "store" / "records", tmp_path / "theirs" / "records")
    next((tmp_path / "theirs" / "records").iterdir()).unlink()
    assert indexed(tmp_path / "theirs") == {"added": 3}
    assert indexed(tmp_path / "store") == {"present": 4}
    assert indexed(tmp_path / "theirs") == {"present": 3}
    stores = Counter(run.data.tags["cab.store"] for run in cells_in(server))
    assert sorted(stores.values()) == [3, 4]
    assert client.get_run(training).info.status == "RUNNING"
    assert {run.info.status for run in cells_in(server)} == {"FINISHED"}
    run = cells_in(server)[0]
    kept = Path(client.download_artifacts(run.info.run_id, "record.json", str(tmp_path)))
    key = run.data.tags["cab.key"]
    assert kept.read_text() == (tmp_path / "store" / "records" / f"{key}.json").read_text()


@pytest.mark.slow
def test_a_server_takes_names_and_texts_of_any_kind_and_length(
    server: MlflowServer, tmp_path: Path
) -> None:
    half = Estimate(value=0.5, standard_error=0.25, n=4)
    smile = "\N{SLIGHTLY SMILING FACE}"
    settings = {f"{smile} {n}": smile * 900 for n in range(500)}  # beyond a request's size
    shortcuts = dict.fromkeys(("first digit's place", "a b", "a_b", "'", smile * 200), half)
    record = make_record(shortcuts=shortcuts, message=smile * 9000)
    provenance = {"command": f"cab run --include 'it''s' {smile * 9000}", "invocation": "a'b"}
    told = record.provenance.model_copy(update=provenance)
    variant = record.variant.model_copy(update={"name": f"'{smile}" * 100, "config": settings})
    made = record.model_copy(update={"provenance": told, "variant": variant})
    hostile = Record.model_validate(made.model_dump())
    store = RecordStore(tmp_path / "store")
    store.write(hostile)
    tracking = Tracking.of_store(store.root, server.uri)
    done = index(store.load()[0], tracking, complete=True)
    assert (done.added, done.refused) == (1, ())
    (run,) = cells_in(server)
    assert len(run.data.params) == len(settings) + 3
    assert len([name for name in run.data.metrics if name.startswith("shortcut")]) == 5
    assert index(store.load()[0], tracking, complete=True).present == 1
