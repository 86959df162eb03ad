"""Eight runs at once on one store: nothing is lost, and nothing is run twice."""

import re
from collections import Counter
from pathlib import Path

import pytest
from cli_support import Said, cab_here, finish, start_cab

from cab.records.store import RecordStore
from cab.tracking.index import Tracking

RUN = ("run", "--profile", "smoke", "--seeds", "2", "--json", "--unchecked")
SHARED = (*RUN, "--variant", "none", "--variant", "mean", "--task", "mqar")
COMMANDS = [
    *[SHARED] * 4,
    *[(*RUN, "--variant", "linear", "--task", "regress")] * 2,
    (*RUN, "--variant", "window", "--task", "mqar"),
    (*RUN, "--variant", "mean", "--variant", "softmax", "--task", "mqar"),  # mean is shared, too
]
PROGRESS = re.compile(
    r"(\[\d/\d\] )?\w+ on (mqar|regress) \(\w\w\), seed \d|\d+ cells? ran|Records: "
)
CELLS = 4 + 2 + 2 + 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def runs(store: Path) -> list[Said]:
    started = [start_cab(*command, "--store", store, cwd=store.parent) for command in COMMANDS]
    return [finish(process, 300) for process in started]


@pytest.mark.slow
def test_every_run_ends_well_and_has_all_its_results(runs: list[Said], store: Path) -> None:
    for said in runs:
        assert said.code == 0, said.err
        # No warning of MLflow, of its database or of a process: progress, and no more.
        lines = [line for line in said.err.splitlines() if not PROGRESS.match(line)]
        assert lines == []
        assert {one["status"] for one in said.document["cells"]} == {"ok"}
        for one in said.document["cells"]:
            assert Path(one["record"]).is_file()


@pytest.mark.slow
def test_no_cell_is_lost_and_none_is_run_twice(runs: list[Said], store: Path) -> None:
    records, problems = RecordStore(store).load()
    assert problems == []
    ran = Counter(
        one["key"] for said in runs for one in said.document["cells"] if one["state"] == "ran"
    )
    assert ran == {record.key: 1 for record in records}
    assert len(records) == CELLS
    started = Counter(
        line for said in runs for line in said.err.splitlines() if line.endswith("started")
    )
    assert sum(started.values()) == CELLS
    names = {path.name for path in (store / "records").iterdir()}
    assert names == {f"{record.key}.json" for record in records}


@pytest.mark.slow
def test_each_run_ran_cells_under_an_invocation_of_its_own(runs: list[Said], store: Path) -> None:
    of_key = {record.key: record.provenance.invocation for record in RecordStore(store).load()[0]}
    invocations = []
    for said in runs:
        ran = [one["key"] for one in said.document["cells"] if one["state"] == "ran"]
        found = {of_key[key] for key in ran}
        assert len(found) == bool(ran)
        invocations += found
    assert len(set(invocations)) == len(invocations)


@pytest.mark.slow
def test_the_index_has_every_cell_exactly_once(runs: list[Said], store: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=Tracking.of_store(store).uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, max_results=1000)
    keys = Counter(run.data.tags["cab.key"] for run in found if "cab.key" in run.data.tags)
    records, _ = RecordStore(store).load()
    assert keys == {record.key: 1 for record in records}
    assert {run.info.status for run in found} == {"FINISHED"}
    changed = cab_here("index", "--store", store, "--json").document
    assert (changed["present"], changed["added"], changed["removed"]) == (CELLS, 0, 0)
