"""Where a command is to write is tried before its work begins, and a full disk cuts nothing."""

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_support import cab_here, environment, make_record

from cab.errors import CabError
from cab.records.copies import key_of
from cab.records.files import try_writing, write_file
from cab.records.results import read_file, write_lines
from cab.records.store import RecordStore

CELL = ("--variant", "none", "--task", "mqar", "--profile", "smoke")

BEFORE_WORK = {
    "check": (["check", "linear", "--json"], "x.json"),
    "bench": (["bench", "--variant", "linear", "--lengths", "64", "--json"], "x.json"),
    "bench, a plot": (["bench", "--variant", "linear", "--plot"], ""),
    "crossover": (["crossover", "linear", "--baseline", "softmax", "--rows"], "x.json"),
    "run": (["run", *CELL, "--checkpoints"], ""),
    "run, its store": (["run", *CELL, "--store"], ""),
    "sweep": (["sweep", *CELL, "--checkpoints"], ""),
    "probe": (["probe", *CELL, "--plots"], ""),
    "extrapolate": (["extrapolate", *CELL, "--plot"], "x.svg"),
    "certify": (["certify", "mqar", "--profile", "smoke", "--out"], ""),
    "site": (["site", "build", "--out"], "public"),
    "report": (["report", "--output"], "x.csv"),
    "new": (["new", "variant", "mine", "--file"], "mine.py"),
}


@pytest.mark.parametrize(("arguments", "name"), BEFORE_WORK.values(), ids=list(BEFORE_WORK))
def test_a_place_that_cannot_be_written_is_said_before_any_work(
    arguments: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for heavy in (
        "cab.conformance.check.check",
        "cab.commands.cells.run_gate.check_all",
        "cab.measure.protocol.Runner.run",
        "cab.site.build.gather",
        "cab.running.processes.Processes.start",
    ):
        monkeypatch.setattr(heavy, _no_work)
    (tmp_path / "file").write_text("mine")
    said = cab_here(*arguments, tmp_path / "file" / "below" / name)
    assert said.code == 2, said.err
    assert "cannot be written" in said.err
    assert "Not a directory" in said.err
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _no_work(*_: object, **__: object) -> None:
    raise AssertionError("the work has begun")


def test_trying_leaves_nothing_behind(tmp_path: Path) -> None:
    try_writing(tmp_path / "x.json", "The report")
    try_writing(tmp_path / "a" / "b", "Plots", folder=True)
    try_writing(tmp_path / "a" / "b.svg", "The figure", parents=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CabError, match=r"The report cannot be written to .*Is a directory"):
        try_writing(tmp_path, "The report")
    with pytest.raises(CabError, match=r"No such file or directory"):
        try_writing(tmp_path / "a" / "x.json", "The report")


def test_a_link_is_followed_and_a_device_is_written_to(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_file(link, "new", "The report")
    assert link.is_symlink()
    assert target.read_text() == "new"
    write_file(Path("/dev/null"), "new", "The report")
    assert Path("/dev/null").is_char_device()


LIMIT = 2000
"""Bytes that a file may have in the tests of a full disk."""

WRITES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv[0] = "cab"
from cab.commands.program import main
main()
"""


def cab_on_a_full_disk(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the program while no file can have more than LIMIT bytes."""
    return subprocess.run(
        [sys.executable, "-c", WRITES.format(limit=LIMIT), *map(str, arguments)],
        cwd=cwd,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
    )


def below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("site", "build", "--out", "public"),
        ("publish", "--store", "store", "--results", "results"),
        ("new", "variant", "mine", "--file", "mine.py"),
    ],
    ids=["site", "publish", "new"],
)
def test_a_full_disk_leaves_what_stood_there(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / ".cab-site").write_text("the old site")
    (tmp_path / "public" / "index.html").write_text("the old page")
    for seed in range(3):
        RecordStore(tmp_path / "store").write(_record(seed))
    old = tmp_path / "results" / "quick" / "softmax.jsonl"
    old.parent.mkdir(parents=True)
    write_lines(old, [_record(9)])
    before = below(tmp_path)
    done = cab_on_a_full_disk(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done
    assert "cannot be written" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert below(tmp_path) == before


def _record(seed: int):
    record = make_record(seed=seed, message="m" * 900)
    return record.model_copy(update={"key": key_of(record)})


def test_a_full_disk_under_a_report_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "board.csv"
    path.write_text("the old board")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(CabError, match=r"The report cannot be written .*File too large"):
            write_file(path, "a" * 1000, "The report")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "the old board"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_under_a_record_leaves_the_old_one(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    old = _record(0)
    path = store.write(old)
    before = path.read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(CabError, match="could not be written"):
            store.write(old.model_copy(update={"message": "another"}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == before
    assert [one.name for one in store.folder.iterdir()] == [path.name]


def test_a_full_disk_under_the_index_is_a_sentence(tmp_path: Path) -> None:
    RecordStore(tmp_path / "store").write(_record(0))
    done = cab_on_a_full_disk("index", "--store", "store", cwd=tmp_path)
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr
    assert "MLflow" in done.stderr or "cannot be written" in done.stderr
    again = cab_here("index", "--store", tmp_path / "store")
    assert again.code == 0, again.err
    assert "1 added" in again.err + again.out


NAMES = {
    "task": {"name": "../../evil"},
    "profile": {"profile": "../../evil"},
    "pattern": {"pattern": "../../evil"},
    "domain": {"domain": "../../evil"},
}


@pytest.mark.parametrize("fields", NAMES.values(), ids=list(NAMES))
def test_a_record_whose_names_hold_a_path_writes_nowhere_else(
    fields: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "a" / "b" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    record = make_record(variant="linear")
    task = record.task.model_copy(update=fields)
    record = record.model_copy(update={"task": task})
    record = record.model_copy(update={"key": key_of(record)})
    RecordStore(here / "store").write(record)
    (here / "own" / "quick").mkdir(parents=True)
    write_lines(here / "own" / "quick" / "linear.jsonl", [record])
    for command in (
        ("show", "--store", "store"),
        ("publish", "--store", "store", "--results", "results"),
        ("leaderboard", "--store", "store"),
        ("index", "--store", "store"),
        ("site", "build", "--results", "own", "--out", "public"),
        ("verify", "own/quick/linear.jsonl", "--sample", "0"),
    ):
        said = cab_here(*command)
        assert said.code in (0, 1, 2), said
    assert {path.name for path in here.iterdir()} <= {"store", "own", "public", "results"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["here"]
    for folder in ("public", "results"):
        assert not any("evil" in path.name for path in (here / folder).rglob("*"))
    if "name" in fields or "profile" in fields:
        assert not (here / "results" / "quick" / "linear.jsonl").exists()


def test_publishing_while_records_are_written_takes_whole_records(tmp_path: Path) -> None:
    store, stop = RecordStore(tmp_path / "store"), threading.Event()
    records = [_record(seed) for seed in range(6)]
    store.write(records[0])

    def run() -> None:
        while not stop.is_set():
            for record in records:
                store.write(record)

    writer = threading.Thread(target=run)
    writer.start()
    try:
        for _ in range(4):
            said = cab_here(
                *("publish", "--store", tmp_path / "store", "--results", tmp_path / "results")
            )
            assert said.code == 0, said.err
            assert "Note" not in said.err, said.err
            found = read_file(tmp_path / "results" / "quick" / "softmax.jsonl")
            assert {one.key for one in found} <= {one.key for one in records}
    finally:
        stop.set()
        writer.join()
