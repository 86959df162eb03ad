"""A process that is stopped, by Ctrl-Z or with its machine, loses no time of its limits."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_support import finish, process_group, start_cab, wait_until, write_variant

from cab.records.store import RecordStore
from cab.running import awake
from cab.running.awake import LONGEST, AwakeClock, is_stopped

LIMIT = 12.0
WAITS = (
    "open({marker!r}, 'w').write(str(os.getpid()))\n"
    "        while os.path.exists({gate!r}): time.sleep(0.05)\n"
    "        return q"
)


def test_a_gap_between_two_readings_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(awake.time, "monotonic", lambda: now)
    clock = AwakeClock()
    start = clock.now()
    now += LONGEST - 1
    assert clock.now() - start == LONGEST - 1
    now += 3600  # here it was stopped
    assert clock.now() - start == LONGEST - 1
    now += 1
    assert clock.now() - start == LONGEST


def test_a_gap_in_which_the_process_worked_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = worked = 100.0
    monkeypatch.setattr(awake.time, "monotonic", lambda: now)
    monkeypatch.setattr(awake.time, "process_time", lambda: worked)
    clock = AwakeClock()
    start = clock.now()
    now, worked = now + 60, worked + 40  # a long call that let no other thread run
    assert clock.now() - start == 60
    now, worked = now + 60, worked + 1
    assert clock.now() - start == 60


def test_a_stopped_process_is_seen() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: is_stopped(process.pid), 5)
        process.send_signal(signal.SIGCONT)
        assert wait_until(lambda: not is_stopped(process.pid), 5)
    finally:
        process.kill()
        process.wait()
    assert not is_stopped(process.pid)
    assert not is_stopped(None)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["group", "parent", "cell"])
def test_a_stop_beyond_the_time_limit_makes_no_timeout(tmp_path: Path, whom: str) -> None:
    marker, gate = tmp_path / "marker", tmp_path / "gate"
    gate.touch()
    path = write_variant(tmp_path, "waits", WAITS.format(marker=str(marker), gate=str(gate)))
    process = start_cab(
        *("run", "--profile", "smoke", "--task", "mqar", "--unchecked", "--variant", "waits"),
        *("--include", path, "--time-limit", LIMIT, "--tracking", "none", "--store", "store"),
        cwd=tmp_path,
    )
    with process_group(process) as group:
        assert wait_until(lambda: marker.exists() and marker.read_text()), finish(process)
        if whom == "group":
            os.killpg(group, signal.SIGSTOP)
        else:
            os.kill(group if whom == "parent" else int(marker.read_text()), signal.SIGSTOP)
        time.sleep(LIMIT + 2)
        os.killpg(group, signal.SIGCONT)
        time.sleep(1)
        gate.unlink()
        said = finish(process)
    assert said.code == 0, said.err
    (record,), problems = RecordStore(tmp_path / "store").load()
    assert problems == []
    assert (record.status, record.message) == ("ok", "")


@pytest.mark.slow
def test_a_cell_that_takes_too_long_still_ends(tmp_path: Path) -> None:
    marker, gate = tmp_path / "marker", tmp_path / "gate"
    gate.touch()
    path = write_variant(tmp_path, "waits", WAITS.format(marker=str(marker), gate=str(gate)))
    process = start_cab(
        *("run", "--profile", "smoke", "--task", "mqar", "--unchecked", "--variant", "waits"),
        *("--include", path, "--time-limit", 3, "--tracking", "none", "--store", "store"),
        cwd=tmp_path,
    )
    with process_group(process):
        finish(process)
    (record,), _ = RecordStore(tmp_path / "store").load()
    assert record.status == "timeout"
