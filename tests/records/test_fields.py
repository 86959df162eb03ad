"""The bounds of a record's fields: what is beyond is refused by name, what is at them is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab_here, make_record
from fuzzing import NO_FILES, at_most, no_file

from cab.errors import CabError
from cab.records.fields import LARGEST, LARGEST_INT, LARGEST_SEED
from cab.records.results import read_results
from cab.records.store import AtLength, CurvePoint, Estimate, Evaluation, RecordStore, parse_record

KEY = "0123456789abcdef0123456789abcdef"
HALF = {"value": 0.5, "standard_error": 0.1, "n": 4}
FIRST = {"first": 0, "last": 7, "nats": 1.0, "n": 4}
AT = {"factor": 1.0, "length": 8, "estimate": HALF}


def changed(place: str, value: Any) -> str:
    """A record's text with one value in it replaced."""
    document = json.loads(make_record(KEY, metrics={"test": {"accuracy": HALF}}).to_json())
    holder = document
    *above, last = place.split(".")
    for name in above:
        holder = holder[name]
    holder[last] = value
    return json.dumps(document)


def read(text: str) -> Any:
    return parse_record(text, Path(f"{KEY}.json"))


TEST = "metrics.test.accuracy"
BEYOND = [
    ("provenance.ended", "2026-01-01T00:00:00"),
    ("provenance.started", "9999-12-31T23:59:59Z"),
    ("provenance.started", "0001-01-01T00:00:00Z"),
    ("curve", [{"step": 0, "loss": 1.0}]),
    ("curve", [{"step": 2, "loss": 1.0}, {"step": 2, "loss": 1.0}]),
    ("curve", [{"step": 1, "loss": 1e31}]),
    ("curve", [{"step": n, "loss": 1.0} for n in range(1, 20_002)]),
    (f"{TEST}.value", 1e308),
    (f"{TEST}.standard_error", -0.1),
    (f"{TEST}.standard_error", 1e308),
    (f"{TEST}.n", 0),
    (f"{TEST}.n", 2**63),
    ("environment.processes", 0),
    ("metrics.lengths", [{**AT, "length": 0}]),
    ("metrics.lengths", [{**AT, "factor": 2e6}]),
    ("metrics.test", {"other": HALF}),
    ("metrics.valid", {"other": HALF}),
    ("metrics.test", {"accuracy": HALF, **{f"m{n}": HALF for n in range(100)}}),
    ("metrics.lengths", [{**AT, "factor": 1e308}]),
    ("metrics.lengths", [{**AT, "factor": 0}]),
    ("metrics.lengths", [AT] * 101),
    ("metrics.lengths", [{**AT, "positions": [{**FIRST, "last": 10**400}]}]),
    ("metrics.lengths", [{**AT, "positions": [{**FIRST, "nats": 1e308}]}]),
    ("metrics.lengths", [{**AT, "positions": [FIRST, FIRST]}]),
    ("metrics.lengths", [{**AT, "positions": [{**FIRST, "first": 8}]}]),
    ("seed", -1),
    ("seed", 2**31),
    ("seed", 2**70),
    ("task.version", 0),
    ("task.version", 2**70),
    ("variant.parameters", -1),
    ("variant.parameters", 10**400),
    ("cost.flops", -5),
    ("cost.flops", 2**63),
    ("cost.peak_bytes", 10**300),
    ("cost.total_seconds", -1.0),
    ("variant.name", "x" * 201),
    ("variant.name", ""),
    ("variant.name", "a\x1b]0;owned\x07"),
    ("variant.name", "a\nb"),
    ("task.name", "\u202egnp"),
    ("task.metric", "\x9b31m"),
    ("message", "\x1b[2J"),
    ("message", "x" * 20_001),
    ("environment.cpu", "x" * 1_000),
    ("environment.cpu", "\x07"),
    ("provenance.command", "cab\x1b run"),
    ("task.data_fingerprint", "\ud800"),
    ("shortcuts", {"a\x1b": HALF}),
    ("variant.options", {"\x1b": 1}),
    ("variant.options", {"window": 10**400}),
    ("variant.options", {"window": float("inf")}),
    ("variant.options", {"window": {"deep": ["\x1b"]}}),
    ("variant.options", {f"n{n}": n for n in range(300)}),
    ("variant.config", {"a": [[[[[[[[[[1]]]]]]]]]]}),
    ("settings.recipe", {"a": list(range(5_000))}),
    ("settings.changed", {"a": "x" * 201}),
    ("evaluations", [{"harness": "lm-eval"}]),
    ("schema_version", 10**30),
]


@pytest.mark.parametrize(("place", "value"), BEYOND, ids=lambda one: repr(one)[:40])
def test_what_is_beyond_a_bound_is_refused_and_the_field_is_named(place: str, value: Any) -> None:
    with pytest.raises(CabError) as refused:
        read(changed(place, value))
    said = str(refused.value)
    assert place.split(".")[0] in said or "metrics lack" in said or "schema version" in said
    assert len(said) < 500


AT_BOUNDS = [
    (f"{TEST}.value", LARGEST),
    (f"{TEST}.value", -LARGEST),
    (f"{TEST}.standard_error", 0),
    ("seed", LARGEST_SEED),
    ("task.version", 10**6),
    ("variant.parameters", 0),
    ("cost.flops", LARGEST_INT),
    ("variant.name", "x" * 200),
    ("message", "a line\nand another\t\N{SLIGHTLY SMILING FACE}" + "x" * 19_000),
    (
        "metrics.lengths",
        [{**AT, "factor": 1e6, "positions": [FIRST, {**FIRST, "first": 8, "last": 8}]}],
    ),
    ("variant.options", {"name": "å ∞ 🙂", "window": [1, 2.5, None, True]}),
    ("provenance.ended", "2199-12-31T23:59:59Z"),
    ("provenance.ended", "1970-01-01T00:00:00+02:00"),
    ("curve", [{"step": n, "loss": LARGEST} for n in range(1, 20_001)]),
]


@pytest.mark.parametrize(("place", "value"), AT_BOUNDS, ids=lambda one: repr(one)[:40])
def test_what_is_at_a_bound_is_read_and_written_as_it_is(place: str, value: Any) -> None:
    record = read(changed(place, value))
    assert read(record.to_json()) == record


def test_an_evaluation_that_cannot_be_recorded_is_explained() -> None:
    fields = {"harness": "h", "harness_version": "1", "task": "arc", "task_version": "1", "n": 3}
    with pytest.raises(CabError, match="The acc of arc cannot be recorded: value"):
        Evaluation.of(**fields, metric="acc", higher_is_better=None, value=float("nan"))


def test_a_change_that_no_record_holds_leaves_the_record_as_it_is(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    before = store.write(make_record(KEY)).read_text()
    wrong = AtLength(factor=1, length=8, estimate=Estimate(**HALF)).model_copy(
        update={"message": "\x1b"}
    )

    def put(record: Any) -> Any:
        return record.model_copy(
            update={"metrics": record.metrics.model_copy(update={"lengths": (wrong,)})}
        )

    with pytest.raises(CabError, match=r"left unchanged: metrics\.lengths\.0\.message"):
        store.change(KEY, put)
    assert store.path(KEY).read_text() == before


@pytest.mark.parametrize("kind", NO_FILES)
def test_something_else_in_a_records_place_is_named_and_never_opened(
    tmp_path: Path, kind: str
) -> None:
    store = RecordStore(tmp_path)
    good = make_record("f" * 32)
    store.write(good)
    no_file(store.path(KEY), kind)
    with at_most(60):
        records, problems = store.load()
        shown = cab_here("show", "--store", tmp_path)
    assert records == [good]
    assert [KEY in problem and "not a plain file" in problem for problem in problems] == [True]
    assert shown.code == 0
    assert problems[0] in shown.err
    with at_most(60), pytest.raises(CabError, match="not a plain file"):
        store.write(make_record(KEY))


@pytest.mark.parametrize("kind", NO_FILES)
def test_something_else_in_the_place_of_results_is_named_and_never_opened(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "quick").mkdir()
    no_file(tmp_path / "quick" / "linear.jsonl", kind)
    with at_most(60):
        records, _, problems = read_results(tmp_path, "quick")
    assert records == []
    assert ["linear.jsonl" in problem for problem in problems] == [True]


def test_a_deep_document_is_named_like_any_other(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(make_record("f" * 32))
    store.path(KEY).write_text("[" * 200_000)
    records, problems = store.load()
    assert len(records) == 1
    assert "nested too deep" in problems[0]


def test_a_curve_point_counts_from_one() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        CurvePoint(step=0, loss=1.0)
