"""`cab show` and `cab index`: what is stored, beside softmax and none, from records alone."""

import json
from pathlib import Path

import pytest
from cli_support import cab_here, make_record, write_variant

from cab.records.store import RecordStore

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


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path / "store").root


def test_a_table_holds_every_entry_with_its_score_best_first(store: Path) -> None:
    said = cab_here("show", "--store", store, "--json")
    assert said.code == 0
    rows = said.document["rows"]
    assert [row["entry"] for row in rows] == ["softmax", "linear", "none"]
    assert [row["mean"] for row in rows] == pytest.approx([0.9, 0.5, 0.1])
    # Chance at mqar is 1/32, below none; t with 2 degrees x 0.01 / sqrt 3 is the interval.
    assert [row["score"]["value"] for row in rows] == pytest.approx([1.0, 0.5, 0.0])
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
