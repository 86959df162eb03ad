"""Tables and published files hold the results of the source that is installed."""

import json
from pathlib import Path

import pytest
from cli_support import cab, cab_here
from made_records import made, made_board, own_tasks_scored
from plug_ins import install, installed_source, write

from cab.records.copies import key_of
from cab.records.results import read_file, results_file, write_results
from cab.records.sources import source_hash
from cab.records.store import Record, RecordStore
from cab.site.build import build_site

PLUGGED = """from cab.registry import register_variant
from cab.variants.control.mean import MeanAttention
from myattn.core import factor

@register_variant(
    name="plugged", family="control", patterns="cs", summary="for a test",
    time="N d", memory="N d", state="E + 1/H",
)
class Plugged(MeanAttention):
    def forward(self, x, context=None, *, key_padding_mask=None):
        return factor * super().forward(x, context, key_padding_mask=key_padding_mask)

    def step(self, x, state):
        answer, state = super().step(x, state)
        return factor * answer, state
"""
OTHER = "b" * 64
NOTE = "results of another source, bbbbbbbb..., not the installed one"


def test_a_changed_helper_is_checked_and_run_again_and_its_undoing_shown(tmp_path: Path) -> None:
    files = {"__init__.py": "", "core.py": "factor = 1.0\n", "attn.py": PLUGGED}
    found = install(tmp_path, "myattn.attn", {f"myattn/{name}": t for name, t in files.items()})
    found["CAB_CACHE"] = str(tmp_path / "cache")
    asked = ("--variant", "plugged", "--task", "mqar", "--profile", "smoke")
    where = ("--store", tmp_path / "store", "--json")

    def run(factor: float) -> tuple[str, bool, float]:
        write(tmp_path, {"myattn/core.py": f"factor = {factor}\n"})
        said = cab("run", *asked, "--tracking", "none", *where, cwd=tmp_path, **found)
        assert said.code == 0, said.err
        (cell,) = said.document["cells"]
        return cell["key"], "Checking plugged (cs)" in said.err, cell["test"]["accuracy"]["value"]

    first, changed, undone = run(1.0), run(-50.0), run(1.0)
    assert first[:2] != changed[:2]
    assert first[1]
    assert changed[1]
    assert undone == (first[0], False, first[2])
    shown = cab("show", "plugged", "--profile", "smoke", *where, cwd=tmp_path, **found)
    (row,) = (one for one in shown.document["rows"] if one["entry"] == "plugged")
    assert row["mean"] == pytest.approx(first[2])
    assert row["other_source"] == ""
    record = RecordStore(tmp_path / "store").read(first[0])
    assert record is not None
    assert row["source"] == record.variant.source_hash


def store_of(folder: Path, *records_of: list) -> Path:
    store = RecordStore(folder)
    for records in records_of:
        for record in records:
            store.write(record)
    return folder


def test_tables_show_the_installed_source_whatever_ran_last(tmp_path: Path) -> None:
    own = made("linear", "mqar", (0.5, 0.5, 0.5))
    later = made("linear", "mqar", (0.7, 0.7, 0.7), source=OTHER, minutes=9)
    store = store_of(tmp_path / "store", made_board(tasks=("mqar",)), own, later)
    rows = cab_here("show", "linear", "--store", store, "--json").document["rows"]
    assert {row["mean"] for row in rows if row["entry"] == "linear"} == {0.5}
    empty = ("--store", store, "--results", tmp_path / "results")
    said = cab_here("leaderboard", *empty, "--json")
    (row,) = (one for one in said.document["rows"] if one["entry"] == "linear")
    assert row["tasks"]["mqar"]["mean"] == 0.5
    assert "another source" not in said.err
    (row,) = (
        one
        for one in json.loads(cab_here("report", *empty, "--format", "json").out)["rows"]
        if one["entry"] == "linear"
    )
    assert row["tasks"]["mqar"]["mean"] == 0.5


def test_results_of_another_source_alone_are_shown_and_marked(tmp_path: Path) -> None:
    other = made("linear", "mqar", (0.7, 0.7, 0.7), source=OTHER)
    absent = made("not-here", "mqar", (0.6, 0.6, 0.6), source=OTHER)
    store = store_of(tmp_path / "store", made_board(tasks=("mqar",)), other, absent)
    said = cab_here("show", "--store", store)
    assert f"linear on mqar: {NOTE}." in said.out
    assert "not-here on mqar: results" not in said.out
    for command in (("leaderboard",), ("report",), ("compare", "linear", "softmax")):
        said = cab_here(*command, "--store", store, "--results", tmp_path / "results")
        assert said.code == 0
        assert f"linear: {NOTE}." in said.err
        assert "not-here: results" not in said.err


def test_publish_writes_the_installed_source_and_says_what_it_left_out(tmp_path: Path) -> None:
    own = made("linear", "mqar", (0.5, 0.6))
    later = made("linear", "mqar", (0.7, 0.8), source=OTHER, minutes=9)
    absent = made("not-here", "mqar", (0.1, 0.2), source=OTHER)
    newer = made("not-here", "mqar", (0.3,), source="c" * 64, minutes=9)
    store = store_of(tmp_path / "store", own, later, absent, newer)
    said = cab_here("publish", "--store", store, "--results", tmp_path)
    assert said.code == 0
    assert f"2 of linear left out: {NOTE}." in said.err
    assert "2 of not-here left out: results of another source than the newest." in said.err
    published = read_file(tmp_path / "quick" / "linear.jsonl")
    assert {one.variant.source_hash for one in published} == {installed_source("linear")}
    assert len(published) == 2
    assert len(read_file(tmp_path / "quick" / "not-here.jsonl")) == 1


def test_nothing_of_another_source_alone_is_published(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", made("linear", "mqar", (0.5,), source=OTHER))
    said = cab_here("publish", "--store", store, "--results", tmp_path / "results")
    assert said.code == 2
    assert f"1 of linear left out: {NOTE}." in said.err
    assert not (tmp_path / "results").exists()


def test_two_records_of_one_cell_are_refused_by_every_reader(tmp_path: Path) -> None:
    (record,) = made("linear", "mqar", (0.5,))
    right = record.model_copy(update={"key": key_of(record)})
    wrong = right.model_copy(update={"key": "f" * 32, "message": "better"})
    board = made_board(tasks=("mqar",), seeds=1)
    store = store_of(tmp_path / "store", board, [right, wrong])
    files = [RecordStore(store).path(key) for key in (right.key, wrong.key)]
    said = cab_here("show", "linear", "--store", store, "--json")
    (row,) = (one for one in said.document["rows"] if one["entry"] == "linear")
    assert row["seeds"] == 1
    (problem,) = said.document["problems"]
    assert all(str(path) in problem for path in files)
    assert f"whose key is {right.key}. {files[1]} has another key and was skipped" in problem
    for command in ("leaderboard", "publish"):
        said = cab_here(command, "--store", store, "--results", tmp_path / "results")
        assert problem in said.err
    published = tmp_path / "results" / "quick" / "linear.jsonl"
    assert [one.key for one in read_file(published)] == [right.key]

    neither = right.model_copy(update={"key": "e" * 32})
    store = store_of(tmp_path / "neither", board, [neither, wrong])
    said = cab_here("show", "--store", store)
    assert "Neither has it, so they were skipped" in said.err
    assert "linear" not in said.out


def test_two_records_of_one_cell_in_a_published_file_are_refused(tmp_path: Path) -> None:
    (record,) = made("linear", "mqar", (0.5,))
    right = record.model_copy(update={"key": key_of(record)})
    wrong = right.model_copy(update={"key": "f" * 32})
    results = tmp_path / "results"
    store = store_of(tmp_path / "store", [right])
    assert cab_here("publish", "--store", store, "--results", results).code == 0
    path = results / "quick" / "linear.jsonl"
    before = path.read_bytes()
    said = cab_here(
        *("publish", "--store", store_of(tmp_path / "other", [wrong]), "--results", results)
    )
    assert said.code == 2
    assert "hold results of one cell (linear on mqar, seed 0)" in said.err
    assert path.read_bytes() == before
    path.write_bytes(before + before.replace(right.key.encode(), b"f" * 32))
    said = cab_here("leaderboard", "--results", results)
    assert f"{path}, line 1 and {path}, line 2 hold results of one cell" in said.err


def test_tables_show_the_task_as_it_is_now_whatever_ran_last(tmp_path: Path) -> None:
    file = tmp_path / "my_task.py"
    assert cab_here("new", "task", "my-task", "--file", file).code == 0

    def records(value: float, source: str, minutes: float) -> list:
        found = made("linear", "mqar", (value,) * 3, minutes=minutes)
        return [_of_task_source(record, source) for record in found]

    own, later = records(0.5, source_hash(file), 0), records(0.7, OTHER, 9)
    store = store_of(tmp_path / "store", own, later)
    asked = ("show", "linear", "--include", file, "--store", store)
    (row,) = cab_here(*asked, "--json").document["rows"]
    assert (row["mean"], row["seeds"], row["other_task_source"]) == (0.5, 3, "")
    assert "another source" not in cab_here(*asked).out
    file.write_text(file.read_text() + "\n\nEDITED = True\n")
    (row,) = cab_here(*asked, "--json").document["rows"]
    assert row["mean"] == pytest.approx(0.7)
    assert f"my-task: {NOTE}. Rerun the cells" in cab_here(*asked).out


def _of_task_source(record: Record, source: str) -> Record:
    task = record.task.model_copy(update={"name": "my-task", "version": 1, "source_hash": source})
    record = record.model_copy(update={"task": task})
    return record.model_copy(update={"key": key_of(record)})


def test_pages_mark_results_of_another_source(tmp_path: Path) -> None:
    for record in (*made_board(), *made("linear", "mqar", (0.7, 0.7, 0.7), source=OTHER)):
        write_results(results_file(tmp_path, "quick", record.variant.name), [record])
    with own_tasks_scored():
        build_site(tmp_path, tmp_path / "public")
    pages = {
        name: (tmp_path / "public" / name).read_text()
        for name in ("index.html", "variants/linear.html", "variants/softmax.html")
    }
    assert pages["index.html"].count(">other source</small>") == 1
    assert f'title="{NOTE}"' in pages["index.html"]
    assert f"These are {NOTE}." in pages["variants/linear.html"]
    assert "another source" not in pages["variants/softmax.html"]
