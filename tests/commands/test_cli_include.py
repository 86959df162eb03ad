"""Files of one's own: tasks and variants with `--include` or CAB_INCLUDE, and paths to check."""

import os
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab, cab_here, cells_of, run_cells, write_variant
from sweep_support import EVERY_EXECUTOR, TASK, sweep_on

from cab.errors import CabError
from cab.records.store import RecordStore
from cab.registry import discover_tasks, discover_variants
from cab.running.jobs import Jobs

WHAT = ("--variant", "mean", "--task", "trivial", "--profile", "smoke")
HOW = ("--unchecked", "--tracking", "none", "--device", "cpu", "--json")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """The file of a task that no package brings."""
    path = tmp_path / "files" / "trivial.py"
    path.parent.mkdir()
    path.write_text(TASK)
    return path


def test_a_task_of_ones_own_is_listed_described_and_run_from_its_file(
    task: Path, tmp_path: Path
) -> None:
    listed = cab_here("list", "tasks", "--include", task, "--json").document
    assert "trivial" in {one["name"] for one in listed}
    assert len(listed) == len(discover_tasks().names()) + 1
    facts = cab_here("info", "trivial", "--include", task, "--json").document
    assert (facts["kind"], facts["file"]) == ("task", str(task))
    run = ("run", *WHAT, *HOW, "--include", task, "--store", tmp_path / "store")
    (cell,) = cab_here(*run).document["cells"]
    assert (cell["task"], cell["status"], cell["state"]) == ("trivial", "ok", "ran")
    (again,) = cab_here(*run).document["cells"]
    assert (again["key"], again["state"]) == (cell["key"], "already done")
    shown = cab_here("show", "--profile", "smoke", "--store", tmp_path / "store", "--json")
    assert [row["task"] for row in shown.document["rows"]] == ["trivial"]


def test_an_unknown_task_is_still_unknown_beside_the_file_of_another(task: Path) -> None:
    said = cab_here("run", "--variant", "mean", "--task", "trivia", "--include", task)
    assert said.code == 2
    assert "Did you mean trivial?" in said.err


@EVERY_EXECUTOR
def test_every_executor_finds_the_file_of_the_task(
    where: tuple[Any, ...], task: Path, tmp_path: Path
) -> None:
    what = (*WHAT, *HOW, "--seeds", 2, "--store", tmp_path / "store")
    said = sweep_on(where, *what, "--include", "files/trivial.py", cwd=tmp_path)
    assert said.code == 0, said.err
    assert [one["status"] for one in said.document["cells"]] == ["ok", "ok"]


def test_processes_that_share_a_batch_find_the_file_of_the_task(
    task: Path, tmp_path: Path
) -> None:
    run = ("run", *WHAT, *HOW, "--include", task, "--store", tmp_path / "store")
    said = cab(*run, "--processes", 2, cwd=tmp_path, timeout=300)
    assert said.code == 0, said.err
    assert [one["status"] for one in said.document["cells"]] == ["ok"]


def test_an_edited_task_reuses_no_result_and_shows_none_of_the_old_ones(
    task: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run = ("run", *WHAT, *HOW, "--include", task, "--store", store)
    (before,) = cab(*run, cwd=tmp_path).document["cells"]
    other = (*run[:1], "--variant", "none", *run[3:])
    assert cab(*other, cwd=tmp_path).code == 0
    task.write_text("# A comment changes nothing.\n" + TASK)
    (same,) = cab(*run, cwd=tmp_path).document["cells"]
    assert (same["key"], same["state"]) == (before["key"], "already done")
    task.write_text(TASK.replace(") - 1)", ") - 2)"))
    (after,) = cab(*run, cwd=tmp_path).document["cells"]
    assert after["key"] != before["key"]
    assert after["state"] == "ran"
    assert after["test"] != before["test"]
    sources = [
        record.task.source_hash
        for key in (before["key"], after["key"])
        if (record := RecordStore(store).read(key)) is not None
    ]
    assert len(set(sources)) == 2
    assert None not in sources
    rows = cab_here("show", "--profile", "smoke", "--store", store, "--json").document["rows"]
    assert [(row["variant"], row["mean"]) for row in rows] == [
        ("mean", after["test"]["error"]["value"])
    ]


def test_a_task_that_is_edited_after_the_plan_does_not_run_under_its_key(
    task: Path, tmp_path: Path
) -> None:
    (cell,) = cells_of(["mean"], include=[task], tasks=("trivial",))
    assert cell.task_file == task
    jobs = Jobs(Path("/nowhere"), "cpu")
    assert jobs.of(cell).cell is cell
    task.write_text(TASK.replace(") - 1)", ") - 2)"))
    with pytest.raises(CabError, match=r"The source of trivial .*trivial.py. has changed"):
        jobs.of(cell)
    ((finished,), _) = run_cells(tmp_path / "store", [cell])
    assert finished.state == "blocked"


def test_a_task_of_cabs_own_has_its_version_and_no_hash() -> None:
    (cell,) = cells_of(["mean"])
    assert (cell.task_source, cell.task_file) == (None, None)
    assert "source_hash" not in cell.task_info().model_dump()


def test_what_cab_include_names_stands_for_include_on_every_command_that_takes_it(
    task: Path, tmp_path: Path
) -> None:
    mine = write_variant(tmp_path, "mine")
    always = os.pathsep.join(map(str, (task, mine)))
    more = write_variant(tmp_path, "more")
    listed = cab_here("list", "variants", "--json", CAB_INCLUDE=always).document
    assert "mine" in {one["name"] for one in listed}
    counts = cab_here("list", "--json", "--include", more, CAB_INCLUDE=always).document
    assert counts["variants"] == len(discover_variants().names()) + 2
    assert counts["tasks"] == len(discover_tasks().names()) + 1
    for name in ("mine", "more", "trivial"):
        said = cab_here("info", name, "--include", more, "--include", mine, CAB_INCLUDE=always)
        assert said.code == 0, said.err
    plan = ("run", "--variant", "mine", *WHAT[2:], "--dry-run", "--json")
    (cell,) = cab_here(*plan, CAB_INCLUDE=always).document["cells"]
    assert (cell["variant"], cell["task"]) == ("mine", "trivial")
    check = ("check", "mine", "--pattern", "ns", "--law", "budget", "--dtype", "float32")
    assert cab_here(*check, CAB_INCLUDE=always).code == 0
    sweep = ("sweep", *plan[1:])
    assert cab_here(*sweep, CAB_INCLUDE=always).document["cells"][0]["key"] == cell["key"]


def test_a_file_of_cab_include_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    said = cab_here("list", CAB_INCLUDE=str(tmp_path / "gone.py"))
    assert said.code == 2
    assert f"CAB_INCLUDE names {tmp_path / 'gone.py'}, which is not a file." in said.err
    assert cab_here("list", CAB_INCLUDE="").code == 0


def test_a_sweep_names_a_broken_file_of_a_task_and_runs_the_rest(
    task: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(TASK.replace("version=1,", "").replace("trivial", "broken"))
    sweep = ("sweep", *WHAT, *HOW, "--store", tmp_path / "store", "--include", task)
    said = cab_here(*sweep, "--include", broken)
    assert said.code == 1
    assert "broken.py" in said.err
    assert "is not complete" in said.err
    assert [one["status"] for one in said.document["cells"]] == ["ok"]


CHECK = ("--pattern", "ns", "--law", "budget", "--dtype", "float32")


def test_check_takes_the_file_of_a_variant(tmp_path: Path, monkeypatch: Any) -> None:
    path = write_variant(tmp_path, "mine")
    monkeypatch.chdir(tmp_path)
    for given in ("mine.py", "./mine.py", path):
        said = cab_here("check", given, *CHECK)
        assert said.code == 0, said.err
        assert " ".join(said.out.split()).startswith("Laws of mine")
    assert cab_here("check", "mine.py", *CHECK, "--include", path).code == 0
    own = discover_variants().entry("window").path
    checked = cab_here("check", own, *CHECK).out
    assert " ".join(checked.split()).startswith("Laws of window")


def test_check_says_what_is_wrong_with_a_path(task: Path, tmp_path: Path) -> None:
    said = cab_here("check", tmp_path / "gone.py", *CHECK)
    assert said.code == 2
    assert f"There is no file {tmp_path / 'gone.py'}" in said.err
    said = cab_here("check", task, *CHECK)
    assert said.code == 2
    assert "registers a task, but `cab check` checks variants only" in said.err
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    said = cab_here("check", empty, *CHECK)
    assert said.code == 2
    assert "registers nothing" in said.err
    assert "no variant called 'mine'" in cab_here("check", "mine", *CHECK).err
