"""MLflow takes every record: of every task, and with any text in any place."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cli_support import DATA, NOON, cab, cab_here, make_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from task_support import TASKS

from cab.records.fields import LARGEST, LARGEST_INT, LARGEST_SEED, LONGEST_NAME, YEARS
from cab.records.store import (
    CurvePoint,
    Estimate,
    Evaluation,
    Provenance,
    Record,
    RecordStore,
    Settings,
    TaskInfo,
)
from cab.seeding import generator
from cab.taxonomy import TaskCard
from cab.tracking.connection import Tracking
from cab.tracking.index import index
from cab.tracking.live import LiveIndex
from cab.tracking.names import Limits
from cab.tracking.runs import metrics, params

HALF = Estimate(value=0.5, standard_error=0.01, n=4)


def finished_runs(tracking: Tracking) -> dict[str, Any]:
    """The runs of cells, by key; each is there once, and has ended."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=tracking.uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=5000)
    cells = [run for run in runs if "cab.key" in run.data.tags]
    assert all(run.info.end_time is not None for run in runs)
    assert len({run.data.tags["cab.key"] for run in cells}) == len(cells)
    return {run.data.tags["cab.key"]: run for run in cells}


def assert_whole(records: Sequence[Record], tracking: Tracking) -> None:
    """Every record has its run, with every number and setting."""
    runs = finished_runs(tracking)
    assert runs.keys() == {record.key for record in records}
    for record in records:
        run = runs[record.key]
        assert run.data.metrics.keys() == {name for name, _, _ in metrics(record)}
        assert run.data.params == params(record, Limits.of_mlflow())


@contextmanager
def index_in(root: Path, empty: Path) -> Iterator[Tracking]:
    root.mkdir(parents=True)
    shutil.copy(empty, root / "mlflow.db")
    yield Tracking.of_store(root)


def record_of(number: int, card: TaskCard) -> Record:
    """A record of a task, with the metric and the shortcuts that the task itself names."""
    task_class = TASKS.load(card.name)
    profile = "smoke" if "smoke" in task_class.recipes else next(iter(task_class.recipes))
    names = {name for one in card.certificate.values() for name in one.measured}
    if not card.data:
        task = task_class(task_class.recipes[profile])
        batch = task.draw("test", 4, generator("names", card.name))
        names |= task.shortcuts(batch).keys()
    record = make_record(
        f"{number:032x}",
        metric=card.metric,
        higher_is_better=card.higher_is_better,
        shortcuts=dict.fromkeys(sorted(names), HALF),
        settings=Settings(recipe=task_class.recipes[profile].as_dict(), changed={}),
    )
    facts = {"name": card.name, "profile": profile, "pattern": card.pattern, "domain": card.domain}
    return record.model_copy(update={"task": record.task.model_copy(update=facts)})


def test_a_record_of_every_task_is_indexed_live_and_by_cab_index(
    tmp_path: Path, empty: Path
) -> None:
    records = [record_of(n, card) for n, card in enumerate(TASKS.cards())]
    assert len(records) > 60
    named = {name for record in records for name in record.shortcuts}
    assert "first digit's place" in named
    with index_in(tmp_path / "live", empty) as tracking:
        live = LiveIndex(tracking)
        for record in records:
            live.add(record)
        live.close()
        assert live.problem == ""
        assert_whole(records, tracking)
    store = RecordStore(tmp_path / "store")
    with index_in(store.root, empty) as tracking:
        for record in records:
            store.write(record)
        said = cab_here("index", "--store", store.root, "--json")
        assert said.code == 0, said.err
        assert said.document["added"] == len(records)
        assert said.document["refused"] == []
        assert_whole(records, tracking)


@pytest.mark.slow
def test_a_smoke_run_of_every_task_is_indexed_live_and_by_cab_index(tmp_path: Path) -> None:
    run = ("run", "--profile", "smoke", "--diagnostic", "--variant", "mean", "--json")
    data = {"CAB_DATA": DATA} if DATA else {}
    said = cab(*run, cwd=tmp_path, timeout=1500, **data)
    assert said.code == 0, said.err
    assert "MLflow" not in said.err
    store = RecordStore(tmp_path / "runs")
    records, problems = store.load()
    assert problems == []
    assert len(records) == len(said.document["cells"])
    assert "locate" in {record.task.name for record in records}
    assert_whole(records, Tracking.of_store(store.root))
    shutil.copytree(store.folder, tmp_path / "copy" / "records")
    again = cab_here("index", "--store", tmp_path / "copy", "--json")
    assert again.code == 0, again.err
    assert again.document["added"] == len(records)
    assert_whole(records, Tracking.of_store(tmp_path / "copy"))


NASTY = [
    *(" ", ".", "..", "/", "a//b", "../../x", "'", '"', "`", "\\", "%"),
    *("first digit's place", "a b", "a_b", "a'b", "A_B", "x" * LONGEST_NAME),
    *("\N{SLIGHTLY SMILING FACE}" * LONGEST_NAME, "e\u0301", "\u00e9", "' or tags.`x` = '1"),
]
SAFE = st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))
NAMES = st.text(SAFE, min_size=1, max_size=20) | st.sampled_from(NASTY)
LINES = NAMES | st.just("")
TEXTS = LINES | st.sampled_from(["line\nline", "x" * 9000, "\N{SLIGHTLY SMILING FACE}" * 9000])
NUMBERS = st.floats(-LARGEST, LARGEST)
COUNTS = st.integers(0, LARGEST_INT) | st.sampled_from([0, LARGEST_INT])
WHOLE = st.integers(-LARGEST_INT, LARGEST_INT) | st.sampled_from([-LARGEST_INT, LARGEST_INT])
ESTIMATES = st.builds(Estimate, value=NUMBERS, standard_error=st.just(0.0), n=st.just(4))
NAMED = st.dictionaries(NAMES, ESTIMATES, max_size=4)
ANYTHING = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBERS | LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
EVALUATIONS = st.builds(
    Evaluation,
    harness=NAMES,
    harness_version=LINES,
    task=NAMES,
    task_version=LINES,
    metric=NAMES,
    higher_is_better=st.none(),
    value=NUMBERS,
    n=st.just(1),
    settings=st.dictionaries(NAMES, ANYTHING, max_size=2),
)
MEASURED = st.dictionaries(NAMES, NUMBERS, max_size=3)
STEPS = st.integers(1, LARGEST_INT) | st.sampled_from([1, LARGEST_INT])
MOMENTS = st.datetimes(
    datetime(YEARS.start, 1, 2),
    datetime(YEARS.stop - 1, 12, 30),
    timezones=st.just(NOON.tzinfo),
)


@st.composite
def hostile_records(draw: Any) -> Record:
    """A record that a store would read, with anything in every place that takes anything."""
    steps = sorted(draw(st.sets(STEPS, max_size=3)))
    record = make_record(
        variant=draw(NAMES),
        seed=draw(st.integers(0, LARGEST_SEED)),
        status=draw(st.sampled_from(["ok", "error"])),
        metric=draw(NAMES),
        options=draw(st.dictionaries(NAMES, ANYTHING, max_size=4)),
        shortcuts=draw(NAMED),
        evaluations=tuple(draw(st.lists(EVALUATIONS, max_size=3))),
        curve=tuple(
            CurvePoint(step=step, loss=draw(NUMBERS), valid=draw(MEASURED)) for step in steps
        ),
        message=draw(TEXTS),
    )
    task = TaskInfo(
        name=draw(NAMES),
        version=draw(st.integers(1, 10**6)),
        profile=draw(NAMES),
        pattern=draw(NAMES),
        domain=draw(NAMES),
        metric=record.task.metric,
        higher_is_better=True,
        data_fingerprint=draw(st.none() | LINES),
    )
    provenance = Provenance(
        invocation=draw(LINES),
        command=draw(TEXTS),
        git_revision=draw(st.none() | LINES),
        git_dirty=None,
        started=draw(MOMENTS),
        ended=draw(MOMENTS),
    )
    cost = record.cost.model_copy(update={"steps": draw(COUNTS), "flops": draw(COUNTS)})
    hostile = record.model_copy(update={"task": task, "provenance": provenance, "cost": cost})
    return Record.model_validate(json.loads(hostile.to_json()))


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Iterator[Tracking]:
    with index_in(tmp_path_factory.mktemp("hostile") / "store", empty) as made:
        yield made


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(found=st.lists(hostile_records(), min_size=1, max_size=3))
def test_every_record_is_indexed_whatever_texts_it_holds(
    tracking: Tracking, found: list[Record]
) -> None:
    records = [one.model_copy(update={"key": f"{n:032x}"}) for n, one in enumerate(found)]
    done = index(records, tracking, complete=True)
    assert done.refused == ()
    assert_whole(records, tracking)
    assert index(records, tracking, complete=True).present == len(records)
    folders = [path for path in tracking.artifacts.parent.iterdir() if path.is_dir()]
    assert folders == [tracking.artifacts]
