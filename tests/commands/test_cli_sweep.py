"""`cab sweep`: what `cab run` gives, many cells at once, each exactly once."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import Said, cab_here, cells_of, make_record, run_cells, write_variant
from sweep_support import command, plugged, stored

from cab.commands.cells.progress import Pace, RunProgress
from cab.errors import CabError
from cab.records.store import RecordStore
from cab.running.execution import Finished
from cab.running.executors.local import LocalExecutor, grouped
from cab.running.jobs import Job, Jobs
from cab.running.processes import placed

PLAN = ("--profile", "smoke", "--unchecked", "--dry-run", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with plugged(tmp_path_factory.mktemp("sweep")) as folder:
        yield folder


@pytest.fixture(scope="module")
def swept(folder: Path) -> Said:
    return cab_here(*command(folder / "store", variant="mean,none"))


def test_a_sweep_gives_what_a_run_gives_in_the_order_of_the_plan(
    swept: Said, folder: Path
) -> None:
    assert swept.code == 0, swept.err
    cells = [(one["variant"], one["seed"], one["state"]) for one in swept.document["cells"]]
    assert cells == [(v, seed, "ran") for v in ("mean", "none") for seed in range(3)]
    run = ("run", "--variant", "mean", "--variant", "none", *command(folder / "other")[3:])
    kept = [word for word in run if word not in ("--workers", 2)]
    said = cab_here(*kept)
    assert said.code == 0, said.err
    assert stored(folder / "other") == stored(folder / "store")
    assert len(stored(folder / "store")) == 6


def test_two_cells_run_at_once_and_each_is_told_of(swept: Said) -> None:
    lines = swept.err.splitlines()
    assert "Running 6 of 6 cells: 2 at once, 1 thread each." in lines
    started = [n for n, line in enumerate(lines) if line.endswith("started")]
    ended = [n for n, line in enumerate(lines) if re.search(r"error \d.* in \d", line)]
    assert len(started) == len(ended) == 6
    assert started[1] < ended[0]
    assert sorted(lines[n].split("]")[0] for n in ended) == [f"[{n}/6" for n in range(1, 7)]


def test_a_sweep_leaves_records_alone_behind(swept: Said, folder: Path) -> None:
    assert sorted(path.name for path in (folder / "store").iterdir()) == ["locks", "records"]
    assert list((folder / "store" / "locks").iterdir()) == []
    for record in RecordStore(folder / "store").load()[0]:
        assert record.environment.threads == 1
        assert record.provenance.command.startswith("cab sweep --variant mean,none")


def test_what_is_done_is_not_run_again(swept: Said, folder: Path) -> None:
    more = command(folder / "store", variant="mean,none", seeds=4)
    again = cab_here(*more, "--threads", 2)
    states = Counter(one["state"] for one in again.document["cells"])
    assert states == {"already done": 6, "ran": 2}
    assert "Running 2 of 8 cells" in again.err
    threads = Counter(r.environment.threads for r in RecordStore(folder / "store").load()[0])
    assert threads == {1: 6, 2: 2}


def test_all_variants_are_swept_where_they_can_be(tmp_path: Path) -> None:
    sweep = ("sweep", "--variant", "all", "--task", "mqar-cross", "--seeds", "2", *PLAN)
    said = cab_here(*sweep, "--store", tmp_path)
    assert said.code == 0, said.err
    counts = Counter(one["variant"] for one in said.document["cells"])
    assert set(counts.values()) == {2}
    assert {"softmax", "none"} <= counts.keys()
    assert "window" not in counts
    assert any("window does not support" in text for text in said.document["left_out"])
    assert cab_here("sweep", "--variant", "window", "--task", "mqar-cross", *PLAN).code == 2


def test_a_file_of_names_is_swept_in_its_order(tmp_path: Path) -> None:
    names = tmp_path / "order"
    names.write_text("# first of all\nwindow\n\nmean  # a control\nfnet # only noncausal\n")
    sweep = ("sweep", "--variant", f"none,@{names}", "--task", "mqar", *PLAN)
    said = cab_here(*sweep, "--store", tmp_path / "store")
    assert said.code == 0, said.err
    assert [one["variant"] for one in said.document["cells"]] == ["none", "window", "mean"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read"),
        ("# nothing\n\n", "holds no name. Write one variant per line."),
        ("windo\n", "Did you mean window"),
    ],
)
def test_a_file_of_names_that_is_missing_empty_or_wrong_is_named(
    text: str | None, sentence: str, tmp_path: Path
) -> None:
    names = tmp_path / "order"
    if text is not None:
        names.write_text(text)
    said = cab_here("sweep", "--variant", f"@{names}", *PLAN, "--store", tmp_path / "store")
    assert said.code == 2
    assert sentence in said.err


def test_all_may_stand_beside_names_and_after_a_space(tmp_path: Path) -> None:
    how = ("--pattern", "cc", "--profile", "smoke", "--dry-run", "--json", "--store", tmp_path)
    said = [cab_here("sweep", "--variant", names, *how) for names in ("all", "mean, all")]
    assert [one.code for one in said] == [0, 0], said[1].err
    assert said[0].document["cells"]
    assert said[0].document["cells"] == said[1].document["cells"]


def test_shards_are_the_plan_each_cell_once(tmp_path: Path) -> None:
    sweep = ("sweep", "--variant", "none,mean,linear", "--task", "mqar", "--seeds", "7", *PLAN)

    def keys(*more: str) -> list[str]:
        said = cab_here(*sweep, "--store", tmp_path, *more)
        return [one["key"] for one in said.document["cells"]]

    parts = [keys("--shard", f"{number}/4") for number in (1, 2, 3, 4)]
    assert sorted(key for part in parts for key in part) == sorted(keys())
    assert sorted(map(len, parts)) == [5, 5, 5, 6]
    assert keys("--shard", "1/1") == keys()


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_a_shard_that_cannot_be_is_refused(text: str) -> None:
    said = cab_here("sweep", "--variant", "none", *PLAN, "--shard", text)
    assert said.code == 2
    assert "is not of the form I/N" in " ".join(said.err.split())


BROKEN = {
    "unread": ("def (:\n", "unread.py, line 1 is not valid Python"),
    "unloaded": (None, "unloaded.py, line 1, cannot be imported: ZeroDivisionError"),
}


def test_a_broken_file_among_good_ones_is_named_and_hides_no_other(tmp_path: Path) -> None:
    files = [write_variant(tmp_path, "good"), *(tmp_path / f"{name}.py" for name in BROKEN)]
    files[1].write_text("def (:\n")
    text = write_variant(tmp_path, "unloaded").read_text()
    files[2].write_text("1 / 0\n" + text)
    include = [word for path in files for word in ("--include", path)]
    sweep = command(tmp_path / "store", *include, variant="good,unloaded", seeds=1)
    with plugged(tmp_path):
        said = cab_here(*sweep)
    assert said.code == 1
    for _, words in BROKEN.values():
        assert words in said.err
    assert [(one["variant"], one["status"]) for one in said.document["cells"]] == [("good", "ok")]
    # A name that only the broken file could have given is unknown, and both are said.
    said = cab_here(*command(tmp_path / "store", *include, variant="unread"))
    assert said.code == 2
    assert "no variant called 'unread'" in said.err
    assert "not valid Python" in said.err


def test_a_broken_file_among_cabs_own_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.py").write_text("def (:\n")
    import cab.variants

    monkeypatch.setattr(cab.variants, "__path__", [*cab.variants.__path__, str(tmp_path)])
    with plugged(tmp_path):
        said = cab_here(*command(tmp_path / "store", seeds=1))
    assert said.code == 1
    assert "bad.py, line 1 is not valid Python" in said.err
    assert [(one["state"], one["status"]) for one in said.document["cells"]] == [("ran", "ok")]


@pytest.mark.parametrize(
    ("visible", "cells", "workers", "gpus"),
    [("3,5", 2, 4, ("3", "5")), ("GPU-abc", 1, 1, ("GPU-abc",))],
)
def test_workers_are_spread_over_the_gpus_that_are_visible(
    visible: str, cells: int, workers: int, gpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    executor = LocalExecutor.here("cuda", cells_per_gpu=cells)
    assert (executor.workers, executor.gpus) == (workers, gpus)
    assert executor.threads >= 1


@pytest.mark.parametrize(
    ("size", "groups"),
    [
        (1, ("0", "1", "2", "3", "4")),
        (2, ("0,1", "2,3")),
        (5, ("0,1,2,3,4",)),
        (6, ("0,1,2,3,4",)),  # a cell says that this is too few
    ],
)
def test_a_cell_of_several_processes_takes_as_many_gpus(size: int, groups: Any) -> None:
    assert grouped(tuple("01234"), size) == groups
    assert grouped((), size) == ()


def test_a_cell_of_a_sweep_may_be_trained_by_several_processes_and_keep_its_weights(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "weights"
    how = ("--processes", 2, "--checkpoints", weights, "--workers", 1)
    with plugged(tmp_path):
        said = cab_here(*command(tmp_path / "store", *how, seeds=1))
    assert said.code == 0, said.err
    assert "1 at once, 2 threads each" in said.err
    records, _ = RecordStore(tmp_path / "store").load()
    assert [record.environment.processes for record in records] == [2]
    assert {path.stem for path in weights.iterdir()} == {record.key for record in records}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--address", "here:1"), "--address needs --executor ray; this run uses local"),
        (("--slurm", "a=b"), "--slurm needs --executor slurm; this run uses local"),
        (("--executor", "ray", "--jobs", 3), "--jobs needs --executor slurm; this run uses ray"),
        (
            ("--executor", "slurm", "--slurm", "nope"),
            "--slurm 'nope' is not of the form KEY=VALUE",
        ),
        (("--processes", 2, "--cells-per-gpu", 2), "--cells-per-gpu must be 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: Any, words: str, tmp_path: Path
) -> None:
    said = cab_here("sweep", "--variant", "none", "--store", tmp_path / "store", *options)
    assert said.code == 2
    assert words in said.err
    assert not (tmp_path / "store").exists()


def test_cells_that_share_a_gpu_share_its_memory() -> None:
    (cell,) = cells_of(["none"])
    job = Job(cell, Path("/nowhere"), "cuda")
    jobs = [placed(job, slot, 5, 2, ("3", "5")) for slot in range(5)]
    assert [one.gpu for one in jobs] == ["3", "5", "3", "5", "3"]
    assert [one.gpu_share for one in jobs] == [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 3]
    assert {one.threads for one in jobs} == {2}
    assert placed(job, 0, 1, None, ()).gpu is None


def test_the_time_that_is_left_is_told_once_a_minute_from_what_was_done() -> None:
    pace = Pace(now=0.0)
    assert pace.left(10, 90, now=30.0) == ""
    assert pace.left(10, 80, now=60.0) == "4 min"
    assert pace.left(10, 70, now=90.0) == ""
    assert pace.left(0, 7000, now=120.0) == "7.8 h"
    assert pace.left(10, 0, now=500.0) == ""


def test_what_was_done_before_says_nothing_of_the_speed() -> None:
    before, now = cells_of(["none"], seeds=2)
    progress = RunProgress([before, now])
    (bar,) = progress._bars.tasks
    steps = before.recipe.train.steps
    assert (bar.completed, bar.total) == (0, 2 * steps)
    progress.cell_finished(Finished(before, "already done", make_record(before.key)))
    assert (bar.completed, bar.total) == (0, steps)
    progress.cell_started(now)
    progress.cell_progress(now, 1, steps)
    assert (bar.completed, bar.total) == (1, steps)
    progress.cell_finished(Finished(now, "ran", make_record(now.key)))
    assert (bar.completed, bar.total) == (steps, steps)


def test_an_edited_variant_does_not_run_under_the_key_it_was_planned_with(tmp_path: Path) -> None:
    path = write_variant(tmp_path, "mine")
    (cell,) = cells_of(["mine"], include=[path])
    jobs = Jobs(Path("/nowhere"), "cpu")
    assert jobs.of(cell).cell is cell
    path.write_text("# A comment changes nothing.\n" + path.read_text())
    assert jobs.of(cell).cell is cell
    path.write_text(path.read_text().replace("return q", "return q + 1"))
    with pytest.raises(CabError, match=r"The source of mine .* has changed since the run was"):
        jobs.of(cell)
    ((finished,), _) = run_cells(tmp_path / "store", [cell])
    assert finished.state == "blocked"
    assert "has changed since the run was planned" in finished.problem
