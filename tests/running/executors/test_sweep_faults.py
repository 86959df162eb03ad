"""Sweeps in trouble: nothing is lost, nothing runs twice, and a sentence says what it was."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_support import (
    cab,
    cab_here,
    cells_of,
    environment,
    finish,
    make_record,
    members,
    process_group,
    run_cells,
    start_cab,
    wait_until,
    write_variant,
)
from sweep_support import command, plug_in, plugged, stored

from cab.records.store import SCHEMA_VERSION, RecordStore
from cab.tracking.index import Tracking, index

NAN_AT = "self.calls = getattr(self, 'calls', 0) + self.training\n        "
NAN_AT += "return q * (float('nan') if self.training and self.calls == {call} else 1)"
# Counting the operations is the first call of all, so training's three are the next.
ENDS = {
    "hangs": ("time.sleep(600)", "timeout", "not finished within 20 s"),
    "huge": ("return q + torch.ones(1 << 31).sum()", "oom", "limit 4 GiB"),
    "nan-first": (NAN_AT.format(call=2), "diverged", "not finite by step 1"),
    "nan-last": (NAN_AT.format(call=4), "diverged", "not finite by step 3"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "error", "killed by signal 9"),
    "good": ("return q", "ok", ""),
}


@pytest.mark.slow
def test_every_end_of_a_cell_is_recorded_and_stops_no_other(tmp_path: Path) -> None:
    paths = [write_variant(tmp_path, name, attend) for name, (attend, _, _) in ENDS.items()]
    include = [word for path in paths for word in ("--include", path)]
    limit = ("--time-limit", 20)
    sweep = command(tmp_path / "store", *include, *limit, seeds=2, variant=",".join(ENDS))
    with plugged(tmp_path):
        said, again = cab_here(*sweep), cab_here(*sweep)
    assert said.code == 1
    assert len(said.document["cells"]) == 2 * len(ENDS)
    for one in said.document["cells"]:
        _, status, words = ENDS[one["variant"]]
        assert (one["state"], one["status"]) == ("ran", status), one["message"]
        assert words in one["message"]
    # A cell whose process was killed runs again; the others stay as they are.
    ran = {one["variant"] for one in again.document["cells"] if one["state"] == "ran"}
    assert ran == {"killed"}


WAITS = "open({marker!r}, 'a').close()\n        while os.path.exists({gate!r}): time.sleep(0.05)"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_sweep_whose_parent_is_ended_leaves_no_process_and_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    gate, marker = tmp_path / "gate", tmp_path / "marker"
    gate.touch()
    attend = WAITS.format(marker=str(marker), gate=str(gate)) + "\n        return q"
    path = write_variant(tmp_path, "waits", attend)
    found = plug_in(tmp_path)
    sweep = command(tmp_path / "store", "--include", path, variant="mean,waits")
    process = start_cab(*sweep, cwd=tmp_path, **found)
    with process_group(process) as group:
        assert wait_until(marker.exists, 120), finish(process)
        # The three cells before may end beside those that wait.
        assert wait_until(lambda: len(RecordStore(tmp_path / "store").load()[0]) == 3, 60)
        os.kill(group, number)
        if number != signal.SIGKILL:
            said = finish(process, 60)
            assert (said.code, said.out) == (130, ""), said.err
            assert "Traceback" not in said.err
            assert "Rerun the same command to resume." in said.err
        process.wait(60)
        assert wait_until(lambda: not members(group), 30), members(group)
    assert len(stored(tmp_path / "store")) == 3
    gate.unlink()
    again = cab(*sweep, cwd=tmp_path, **found)
    assert again.code == 0, again.err
    states = [(one["variant"], one["state"]) for one in again.document["cells"]]
    assert states == [("mean", "already done")] * 3 + [("waits", "ran")] * 3
    assert len(stored(tmp_path / "store")) == 6


@pytest.mark.slow
def test_two_sweeps_on_one_store_run_every_cell_once(tmp_path: Path) -> None:
    found = plug_in(tmp_path)
    sweep = command(tmp_path / "store", seeds=12, variant="mean,none")
    both = [start_cab(*sweep, cwd=tmp_path, **found) for _ in range(2)]
    said = [finish(process, 300) for process in both]
    assert [one.code for one in said] == [0, 0], said
    ran = [cell["key"] for one in said for cell in one.document["cells"] if cell["state"] == "ran"]
    assert Counter(ran) == dict.fromkeys(stored(tmp_path / "store"), 1)
    assert len(ran) == 24
    started = [line for one in said for line in one.err.splitlines() if line.endswith("started")]
    assert len(started) == 24
    assert list((tmp_path / "store" / "locks").iterdir()) == []


@pytest.mark.slow
def test_files_in_the_place_of_records_block_their_cells_alone(tmp_path: Path) -> None:
    with plugged(tmp_path):
        whole = cab_here(*command(tmp_path / "whole", seeds=6))
    keys = [one["key"] for one in whole.document["cells"]]
    good = RecordStore(tmp_path / "whole").path(keys[0]).read_text()
    newer = good.replace('"schema_version": 1', f'"schema_version": {SCHEMA_VERSION + 1}')
    bad = {
        keys[0]: (good[:700], "whole JSON"),
        keys[1]: ("", "whole JSON"),
        keys[2]: ('{"name": "package"}', "not a CAB record"),
        keys[3]: (newer, "Upgrade CAB"),
    }
    store = RecordStore(tmp_path / "store")
    store.folder.mkdir(parents=True)
    for key, (text, _) in bad.items():
        store.path(key).write_text(text)
    with plugged(tmp_path):
        said = cab_here(*command(store.root, seeds=6))
    assert said.code == 1
    ends = {one["key"]: one for one in said.document["cells"]}
    for key, (text, words) in bad.items():
        assert ends[key]["state"] == "blocked"
        assert words in ends[key]["message"]
        assert key in ends[key]["message"]
        assert store.path(key).read_text() == text
    assert [ends[key]["state"] for key in keys[4:]] == ["ran", "ran"]


def in_own_mounts(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount; nothing of it is seen outside."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", script],
        cwd=folder,
        env=environment(**plug_in(folder)),
        capture_output=True,
        text=True,
        timeout=300,
    )


def needs_mounts(folder: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    if in_own_mounts("mkdir -p try && mount -t tmpfs none try", folder).returncode:
        pytest.skip("this machine lets nobody mount in a namespace of their own")


@pytest.mark.slow
def test_a_full_disk_loses_no_result_and_the_sweep_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    needs_mounts(tmp_path)
    sweep = " ".join(map(str, [sys.executable, "-m", "cab", *command(Path("small/store"))]))
    script = (
        # 330 kB: room for the space of one cell's record, not of two at once.
        "mkdir small; mount -t tmpfs -o size=330k none small\n"
        f"{sweep} > one.json 2> one.err || echo $? > one.code\n"
        "ls small/store/records | wc -l > one.count\n"
        "mount -o remount,size=9m none small\n"
        f"{sweep} > two.json 2> two.err\n"
        "cp -r small/store kept"
    )
    done = in_own_mounts(script, tmp_path)
    assert done.returncode == 0, done.stderr + (tmp_path / "one.err").read_text()
    assert (tmp_path / "one.code").read_text() == "1\n"
    said = (tmp_path / "one.err").read_text()
    assert "There is no space for a record in" in said
    assert "No space left on device" in said
    assert "Traceback" not in said
    count = int((tmp_path / "one.count").read_text())
    assert 0 < count < 3
    assert f"Running {3 - count} of 3 cells" in (tmp_path / "two.err").read_text()
    assert len(stored(tmp_path / "kept")) == 3


@pytest.mark.slow
def test_a_store_that_may_only_be_read_is_said_at_once_and_shown_when_done(tmp_path: Path) -> None:
    needs_mounts(tmp_path)
    words = [sys.executable, "-m", "cab", *command(Path("disk/store"), seeds=1)]
    sweep = " ".join(map(str, words))
    script = (
        "mkdir disk; mount -t tmpfs none disk\n"
        f"{sweep} > one.json\n"
        "mount -o remount,ro none disk\n"
        f"{sweep} > two.json\n"
        f"{sweep} --seeds 2 > three.json 2> three.err || echo $? > three.code"
    )
    done = in_own_mounts(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"state": "already done"' in (tmp_path / "two.json").read_text()
    assert (tmp_path / "three.code").read_text() == "2\n"
    said = (tmp_path / "three.err").read_text()
    assert said == (
        "Error: Records cannot be written to disk/store/records: Read-only file system. "
        "Choose another place.\n"
    )


def test_a_clock_that_is_set_back_disturbs_neither_records_nor_their_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = iter(range(24, 0, -1))

    class Backwards(datetime):
        @classmethod
        def now(cls, zone: object = None) -> datetime:
            return datetime(2026, 1, 1, next(hours) - 1, tzinfo=UTC)

    monkeypatch.setattr("cab.running.execution.datetime", Backwards)
    cells = cells_of(["none"], seeds=3)
    finished, _ = run_cells(tmp_path, cells)
    assert [one.state for one in finished] == ["ran"] * 3
    records, problems = RecordStore(tmp_path).load()
    assert problems == []
    for record in records:
        took = record.provenance.ended - record.provenance.started
        assert took == timedelta(seconds=record.cost.total_seconds)
        assert record.cost.total_seconds > 0
    tracking = Tracking.of_store(tmp_path)
    assert index(records, tracking, complete=True).added == 3
    assert index(records, tracking, complete=True).present == 3
    assert [one.state for one in run_cells(tmp_path, cells)[0]] == ["already done"] * 3


def test_a_results_file_of_100_mb_is_refused_by_its_size_and_a_record_is_not_lost_beside_one(
    tmp_path: Path,
) -> None:
    large = tmp_path / "quick" / "softmax.jsonl"
    large.parent.mkdir()
    with large.open("wb") as file:
        line = make_record().to_json().replace("\n", " ").encode() + b"\n"
        for _ in range(100_000_000 // len(line) + 1):
            file.write(line)
    said = cab_here("verify", large, "--sample", "0")
    assert said.code == 1
    assert "bytes" in said.out
    assert "are allowed" in said.out
    # The same as a record: it is too large, is named, and the record beside it counts.
    store = RecordStore(tmp_path / "store")
    store.write(make_record("f" * 32))
    large.rename(store.path("0" * 32))
    records, problems = store.load()
    assert [record.key for record in records] == ["f" * 32]
    assert len(problems) == 1
    assert "50000000 are allowed" in problems[0]
