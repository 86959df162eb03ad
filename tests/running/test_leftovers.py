"""What a killed run leaves is gone after the next one; what another holds stays."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from cli_support import (
    cab,
    cells_of,
    finish,
    make_record,
    members,
    process_group,
    run_cells,
    start_cab,
    wait_until,
    write_variant,
)
from filelock import FileLock

from cab.records.leftovers import OLD, clear_leftovers
from cab.records.store import RecordStore
from cab.running.fork_server import scratch_folder

KEYS = ["a" * 32, "b" * 32, "c" * 32]
WAITS = "open({marker!r}, 'w').close(); time.sleep(600)"


def test_leftovers_go_and_what_another_run_holds_stays(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.locks.mkdir()
    store.folder.mkdir()
    for key in KEYS:
        (store.locks / f"{key}.lock").touch()
        (store.locks / f"{key}.space").write_bytes(bytes(1000))
    (store.locks / f"{KEYS[0]}.change").touch()
    (store.locks / "mine.txt").write_text("mine")
    new, old = store.folder / ".writing-1", store.folder / ".writing-2"
    new.touch()
    old.touch()
    os.utime(old, (time.time() - OLD - 1,) * 2)
    with FileLock(store.locks / f"{KEYS[1]}.lock"):
        clear_leftovers(store)
        left = {path.name for path in store.locks.iterdir()}
    assert left == {f"{KEYS[1]}.lock", f"{KEYS[1]}.space", "mine.txt"}
    assert [path.name for path in store.folder.iterdir()] == [new.name]


def test_a_changed_record_leaves_no_lock(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(make_record())
    assert store.change("0" * 32, lambda record: record) is not None
    assert list(store.locks.iterdir()) == []


def test_the_next_run_clears_the_store(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.locks.mkdir()
    (store.locks / f"{KEYS[0]}.space").write_bytes(bytes(1000))
    finished, _ = run_cells(tmp_path, cells_of(["none"]))
    assert [one.state for one in finished] == ["ran"]
    assert list(store.locks.iterdir()) == []


@pytest.mark.slow
def test_a_killed_run_leaves_no_folder_for_temporary_files(tmp_path: Path) -> None:
    marker, scratch = tmp_path / "marker", tmp_path / "scratch"
    scratch.mkdir()
    path = write_variant(tmp_path, "waits", WAITS.format(marker=str(marker)))
    process = start_cab(
        *("run", "--profile", "smoke", "--task", "mqar", "--unchecked", "--variant", "waits"),
        *("--include", path, "--tracking", "none", "--store", tmp_path / "store"),
        cwd=tmp_path,
        TMPDIR=str(scratch),
    )
    with process_group(process) as group:
        assert wait_until(marker.exists), finish(process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not members(group), 30), members(group)
    # PyTorch keeps a cache of its own there.
    assert [one for one in scratch.iterdir() if "torchinductor" not in one.name] == []


@pytest.mark.slow
def test_a_long_path_for_temporary_files_is_no_obstacle(tmp_path: Path) -> None:
    scratch = tmp_path / ("long" * 30) / ("long" * 30)
    scratch.mkdir(parents=True)
    said = cab(
        *("run", "--profile", "smoke", "--task", "mqar", "--unchecked", "--variant", "none"),
        *("--tracking", "none", "--json"),
        cwd=tmp_path,
        TMPDIR=str(scratch),
    )
    assert said.code == 0, said.err
    assert [cell["status"] for cell in said.document["cells"]] == ["ok"]
    assert "Traceback" not in said.err


def test_the_folder_for_temporary_files_is_one_and_the_default_is_not_changed() -> None:
    before = tempfile.gettempdir()
    assert scratch_folder() == scratch_folder()
    assert scratch_folder().is_dir()
    assert tempfile.gettempdir() == before
