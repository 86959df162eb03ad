"""`cab show` and `cab index`: what is stored, beside softmax and none, from records alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import Said, cab_here, make_record, write_variant
from levelled_records import at_levels
from made_records import made, own_tasks_scored
from support import REPOSITORY

from cab.records.results import results_file, write_results
from cab.records.store import Record, RecordStore, Settings
from cab.registry import discover_variants
from cab.scores.table import host_class

RESULTS = {"softmax": 0.9, "linear": 0.5, "none": 0.1}


def fill(folder: Path) -> RecordStore:
    store = RecordStore(folder)
    for n, (variant, value) in enumerate(RESULTS.items()):
        for seed in range(3):
            record = make_record(
                f"{16 * n + seed:032x}",
                variant=variant,
                seed=seed,
                value=value + 0.01 * (seed - 1),
            )
            store.write(record)
    return store


@pytest.fixture(autouse=True)
def _own_tasks() -> Iterator[None]:
    with own_tasks_scored():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path / "store").root


def test_a_table_holds_every_entry_with_its_score_best_first(store: Path) -> None:
    said = cab_here("show", "--store", store, "--json")
    assert said.code == 0
    rows = said.document["rows"]
    assert [row["entry"] for row in rows] == ["softmax", "linear", "none"]
    assert [row["mean"] for row in rows] == pytest.approx([0.9, 0.5, 0.1])
    # The scale is .2 to 1; t with 2 degrees x 0.01 / sqrt 3 is the interval of the mean.
    assert [row["score"]["value"] for row in rows] == pytest.approx([0.875, 0.375, -0.125])
    assert rows[0]["score"]["interval"] == pytest.approx(0.0248414 / 0.8, rel=1e-5)
    assert [row["interval"] for row in rows] == pytest.approx([0.0248414] * 3, rel=1e-5)
    assert {row["seeds"] for row in rows} == {3}
    table = cab_here("show", "--store", store)
    assert table.code == 0
    assert all(name in table.out for name in RESULTS)
    assert "0.500 ± 0.025" in table.out
    assert "\x1b" not in table.out


def test_one_variant_is_shown_beside_softmax_and_none(store: Path) -> None:
    RecordStore(store).write(make_record("f" * 32, variant="window"))
    rows = cab_here("show", "linear", "--store", store, "--json").document["rows"]
    assert {row["variant"] for row in rows} == {"linear", "softmax", "none"}


def test_a_result_that_does_not_count_has_no_score(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    smoke = make_record().task.model_copy(update={"profile": "smoke"})
    for n, variant in enumerate(RESULTS):
        store.write(make_record(f"{n:032x}", variant=variant).model_copy(update={"task": smoke}))
    said = cab_here("show", "--profile", "smoke", "--store", tmp_path, "--json")
    assert [row["score"] for row in said.document["rows"]] == [None] * 3
    assert "diagnostic" in cab_here("show", "--profile", "smoke", "--store", tmp_path).out
    assert cab_here("show", "--store", tmp_path, "--json").document["rows"] == []


def test_a_changed_recipe_is_named_as_the_reason_for_no_score(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for n, variant in enumerate(RESULTS):
        record = make_record(f"{n:032x}", variant=variant)
        changed = record.settings.model_copy(update={"changed": {"model.dim": 16}})
        store.write(record.model_copy(update={"settings": changed}))
    said = cab_here("show", "--store", tmp_path)
    names = ", ".join(f"{name} (model.dim=16)" for name in sorted(RESULTS))
    assert f"mqar: no score for {names}, because the recipe was changed with --set." in said.out


def test_failures_are_shown_and_are_not_zero(store: Path) -> None:
    RecordStore(store).write(make_record("e" * 32, variant="linear", seed=7, status="oom"))
    RecordStore(store).write(make_record("f" * 32, variant="window", status="timeout"))
    said = cab_here("show", "--store", store, "--json")
    rows = {row["entry"]: row for row in said.document["rows"]}
    assert rows["linear"]["mean"] == pytest.approx(0.5)
    assert rows["linear"]["outcomes"] == {"ok": 3, "oom": 1}
    assert rows["window"]["mean"] is None
    assert rows["window"]["score"] is None
    table = cab_here("show", "--store", store).out
    assert "3 1 oom" in table
    assert "0 1 timeout" in table


def test_foreign_files_are_named_and_do_not_stop_the_table(store: Path) -> None:
    foreign = store / "records" / ("a" * 32 + ".json")
    foreign.write_text("{")
    said = cab_here("show", "--store", store, "--json")
    assert said.code == 0
    assert len(said.document["rows"]) == 3
    assert [foreign.name in problem for problem in said.document["problems"]] == [True]
    assert foreign.name in said.err
    assert foreign.read_text() == "{"


def test_an_empty_store_is_a_sentence_or_an_empty_document(tmp_path: Path) -> None:
    said = cab_here("show", "--store", tmp_path)
    assert said.code == 2
    assert "cab run" in said.err
    empty = cab_here("show", "--store", tmp_path, "--json")
    assert empty.code == 0
    assert empty.document["rows"] == []
    assert list(tmp_path.iterdir()) == []


def test_the_store_may_be_named_by_the_environment(store: Path) -> None:
    assert len(cab_here("show", "--json", CAB_STORE=str(store)).document["rows"]) == 3


def test_a_variant_of_the_users_is_shown_without_its_file(tmp_path: Path) -> None:
    path = write_variant(tmp_path, "mine")
    store = fill(tmp_path / "store")
    store.write(make_record("f" * 32, variant="mine", value=0.7))
    path.unlink()
    rows = cab_here("show", "mine", "--store", store.root, "--json").document["rows"]
    assert "mine" in {row["entry"] for row in rows}


def test_an_index_holds_all_records_once_and_says_what_it_did(store: Path) -> None:
    first = cab_here("index", "--store", store, "--json")
    assert first.code == 0
    assert first.err == ""
    counted = {key: first.document[key] for key in ("added", "replaced", "present", "removed")}
    assert counted == {"added": 9, "replaced": 0, "present": 0, "removed": 0}
    (store / "records" / f"{0:032x}.json").unlink()
    foreign = store / "records" / ("a" * 32 + ".json")
    foreign.write_text(json.dumps({"not": "mine"}))
    second = cab_here("index", "--store", store)
    assert second.code == 1
    assert foreign.name in second.err
    assert "8 records" in second.out
    assert "0 added, 0 replaced, 8 unchanged, 1 removed" in second.out
    assert foreign.read_text() == '{"not": "mine"}'


(SOFTMAX,) = made("softmax", "mqar", (0.99,), rate=1e-3)
(NONE,) = made("none", "mqar", (0.03,), rate=1e-3)


def publish(folder: Path) -> Path:
    """Publish both in a results folder."""
    for one in (SOFTMAX, NONE):
        write_results(results_file(folder / "results", "quick", one.variant.name), [one])
    return folder / "results"


def run_like_the_published_ones(key: str, variant: str, value: float, **changes: Any) -> Record:
    """A record by the published recipe of mqar."""
    record = make_record(key * 32, variant=variant, value=value)
    return record.model_copy(update={"settings": SOFTMAX.settings, **changes})


def rows_by_entry(said: Said) -> dict[str, Any]:
    assert said.code == 0, said.err
    return {row["entry"]: row for row in said.document["rows"]}


def test_published_references_stand_in_for_missing_ones_and_it_is_said(tmp_path: Path) -> None:
    results = publish(tmp_path)
    RecordStore(tmp_path).write(run_like_the_published_ones("a", "window", 0.5))
    said = cab_here("show", "window", "--results", results, "--store", tmp_path, "--json")
    rows = rows_by_entry(said)
    assert list(rows) == ["softmax", "window", "none"]
    assert rows["window"]["score"]["value"] == pytest.approx(0.375)
    assert {name: row["published"] for name, row in rows.items()} == {
        "softmax": True, "window": False, "none": True,
    }  # fmt: skip
    assert rows["softmax"]["seconds"] is None
    out = cab_here("show", "window", "--results", results, "--store", tmp_path).out
    assert "none (published)" in out
    assert (
        "mqar: the store has no results of softmax and none, so published ones are shown, "
        f"measured on {host_class(SOFTMAX.environment)}." in out
    )


def test_references_of_ones_own_come_before_the_published_ones(tmp_path: Path) -> None:
    results = publish(tmp_path)
    store = RecordStore(tmp_path)
    store.write(run_like_the_published_ones("a", "window", 0.5))
    store.write(run_like_the_published_ones("b", "softmax", 0.8))
    said = cab_here("show", "window", "--results", results, "--store", tmp_path, "--json")
    rows = rows_by_entry(said)
    assert (rows["softmax"]["mean"], rows["softmax"]["published"]) == (0.8, False)
    assert rows["none"]["published"]
    assert (
        "mqar: the store has no results of none, so published ones are shown"
        in cab_here("show", "--results", results, "--store", tmp_path).out
    )
    failed = make_record("c" * 32, variant="none", status="oom")
    store.write(failed.model_copy(update={"settings": SOFTMAX.settings}))
    lines = cab_here("show", "--results", results, "--store", tmp_path, "--json").document["rows"]
    assert sorted(one["published"] for one in lines if one["entry"] == "none") == [False, True]


@pytest.mark.parametrize("change", ["version", "recipe", "training", "source"])
def test_only_comparable_published_references_stand_in(change: str, tmp_path: Path) -> None:
    record = run_like_the_published_ones("a", "window", 0.5)
    results = tmp_path / "results"
    published = [SOFTMAX, NONE]
    if change == "version":
        task = SOFTMAX.task.model_copy(update={"version": SOFTMAX.task.version - 1})
        published = [one.model_copy(update={"task": task}) for one in published]
    if change == "recipe":
        settings = Settings(recipe={**SOFTMAX.settings.recipe, "evaluations": 9}, changed={})
        published = [one.model_copy(update={"settings": settings}) for one in published]
    if change == "source":
        published = [
            one.model_copy(
                update={"variant": one.variant.model_copy(update={"source_hash": "0" * 64})}
            )
            for one in published
        ]
    if change == "training":
        settings = Settings(recipe=SOFTMAX.settings.recipe, changed={"train.steps": 3})
        record = record.model_copy(update={"settings": settings})
    for one in published:
        write_results(results_file(results, "quick", one.variant.name), [one])
    RecordStore(tmp_path / "store").write(record)
    show = ("show", "--store", tmp_path / "store", "--results", results)
    said = cab_here(*show, "--json")
    (row,) = rows_by_entry(said).values()
    assert (row["score"] is None) == (change == "training")
    assert "published ones are shown" not in cab_here(*show).out


def test_an_entry_of_another_training_is_not_scored(
    tmp_path: Path,
) -> None:
    store = RecordStore(tmp_path)
    store.write(run_like_the_published_ones("a", "window", 0.5))
    changed = Settings(recipe=SOFTMAX.settings.recipe, changed={"train.steps": 3})
    store.write(run_like_the_published_ones("b", "window", 0.6, settings=changed))
    rows = rows_by_entry(cab_here("show", "--store", tmp_path, "--json"))
    assert rows["window"]["score"] is not None
    assert rows["window (train.steps=3)"]["score"] is None
    assert "no score for window (train.steps=3), because the recipe was changed" in (
        cab_here("show", "--store", tmp_path).out
    )


def test_a_variant_with_published_results_alone_says_where_they_are(tmp_path: Path) -> None:
    said = cab_here("show", "deltanet", "--store", tmp_path)
    assert said.code == 2
    assert "Published results are shown by `cab leaderboard`." in " ".join(said.err.split())
    published = {path.stem for path in (REPOSITORY / "results" / "quick").glob("*.jsonl")}
    unpublished = next(name for name in discover_variants().names() if name not in published)
    said = cab_here("show", unpublished, "--store", tmp_path)
    assert said.code == 2
    assert "leaderboard" not in said.err


def test_each_level_of_a_task_has_a_column_with_the_mean_over_seeds(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for seed, values in enumerate(((1.0, 0.5), (1.0, 0.7))):
        (record,) = made("linear", "mqar", (0.8,), first=seed)
        store.write(record.model_copy(update={"metrics": at_levels(values)}))
    said = cab_here("show", "--store", tmp_path)
    assert said.code == 0, said.err
    (row,) = (line for line in said.out.splitlines() if line.split()[:2] == ["linear", "1.00"])
    assert row.split() == ["linear", "1.00", "0.60"]
    assert "mqar, accuracy ↑ at each level" in said.out
    (line,) = (
        row
        for row in cab_here("show", "--store", tmp_path, "--json").document["rows"]
        if row["entry"] == "linear"
    )
    assert line["levels"] == pytest.approx({"length 1": 1.0, "length 2": 0.6})


def test_the_learning_rates_of_an_entry_are_named_and_one_counts(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    rates = (1e-3, 2e-3, 4e-3)
    for record in (
        *made("window", "mqar", (0.4,), rate=1e-3, rates=rates, valid=0.41),
        *made("window", "mqar", (0.5,), rate=4e-3, rates=rates, valid=0.52),
        *made("window", "mqar", (0.6, 0.61, 0.62), rate=2e-3, rates=rates, valid=0.6),
        *made("linear", "mqar", (0.3,), rate=1e-3, rates=rates),
    ):
        store.write(record)
    said = cab_here("show", "--store", tmp_path)
    assert (
        "mqar, window, learning rate 0.002 of: 0.001 validation 0.410 test 0.400; 0.002 "
        "validation 0.600 test 0.600; 0.004 validation 0.520 test 0.500 (sensitivity 0.200)"
    ) in said.out
    assert "1, trial" in said.out
    rows = rows_by_entry(cab_here("show", "--store", tmp_path, "--json"))
    assert rows["window"]["mean"] == pytest.approx(0.61)
    assert (rows["window"]["seeds"], rows["window"]["trial"]) == (3, "")
    assert rows["linear"]["trial"] == "not all learning rates were tried"
