"""A run that is interrupted or killed: nothing is half-written or left running, and it goes on."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_support import (
    Said,
    cab_here,
    finish,
    members,
    process_group,
    start_cab,
    wait_until,
    write_variant,
)

from cab.records.store import RecordStore

WAITS = "open({marker!r}, 'a').close()\n        while os.path.exists({gate!r}): time.sleep(0.05)"
RUN = ("run", "--profile", "smoke", "--task", "mqar", "--seeds", "2", "--json", "--unchecked")


class Gate:
    """A run of three good cells and one that waits at a gate, in a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.gate, self.marker = folder, folder / "gate", folder / "marker"
        self.gate.touch()
        waits = WAITS.format(marker=str(self.marker), gate=str(self.gate))
        path = write_variant(folder, "waits", waits + "\n        return q")
        self.command = (*RUN, "--variant", "none", "--variant", "waits", "--include", path)
        self.command = (*self.command, "--store", "store", *options)

    def start(self) -> "subprocess.Popen[str]":
        """Start the run and return when its third cell is at the gate."""
        process = start_cab(*self.command, cwd=self.folder)
        assert wait_until(self.marker.exists), finish(process)
        return process

    def open(self) -> None:
        self.gate.unlink()

    def files(self) -> list[str]:
        """Every file of the store but MLflow's own."""
        store = self.folder / "store"
        found = [path for path in store.rglob("*") if path.is_file()]
        return [str(path.relative_to(store)) for path in found if "artifacts" not in path.parts]


def only_whole_records(gate: Gate, count: int) -> None:
    records, problems = RecordStore(gate.folder / "store").load()
    assert problems == []
    assert [record.status for record in records] == ["ok"] * count
    inside = [name for name in gate.files() if name.startswith("records/")]
    assert sorted(inside) == [f"records/{record.key}.json" for record in records]


def went_on(said: Said) -> None:
    states = [(one["variant"], one["seed"], one["state"]) for one in said.document["cells"]]
    assert states == [
        ("none", 0, "already done"),
        ("none", 1, "already done"),
        ("waits", 0, "ran"),
        ("waits", 1, "ran"),
    ]
    assert {one["status"] for one in said.document["cells"]} == {"ok"}
    assert said.code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "whom", "tracking"),
    [
        (signal.SIGINT, "group", "mlflow"),  # Ctrl-C in a terminal
        (signal.SIGTERM, "parent", "none"),  # `kill`, or a scheduler
        (signal.SIGTERM, "group", "none"),
    ],
)
def test_an_interrupted_run_exits_130_leaves_nothing_half_done_and_goes_on(
    tmp_path: Path, number: int, whom: str, tracking: str
) -> None:
    gate = Gate(tmp_path, "--tracking", tracking)
    process = gate.start()
    with process_group(process) as group:
        (os.kill if whom == "parent" else os.killpg)(group, number)
        said = finish(process, 30)
        assert said.code == 130, said.err
        assert said.out == ""
        assert "Interrupted." in said.err
        assert "Traceback" not in said.err
        assert wait_until(lambda: not members(group), 10), members(group)
    only_whole_records(gate, 2)
    gate.open()
    went_on(cab_here(*gate.command[:-2], "--tracking", "none", "--store", tmp_path / "store"))
    only_whole_records(gate, 4)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_cells_that_are_missing(tmp_path: Path) -> None:
    gate = Gate(tmp_path, "--tracking", "none")
    process = gate.start()
    with process_group(process) as group:
        os.kill(group, signal.SIGKILL)
        process.wait()
        # The cell still waits at its gate, and must not wait there for ever.
        assert wait_until(lambda: not members(group), 20), members(group)
    gate.open()
    only_whole_records(gate, 2)
    went_on(cab_here(*gate.command, "--store", tmp_path / "store"))
    only_whole_records(gate, 4)


@pytest.mark.slow
def test_a_second_ctrl_c_does_no_harm(tmp_path: Path) -> None:
    gate = Gate(tmp_path, "--tracking", "none")
    process = gate.start()
    with process_group(process) as group:
        for _ in range(5):
            os.killpg(group, signal.SIGINT)
            time.sleep(0.03)
        said = finish(process, 30)
        assert said.code == 130, said.err
        assert said.out == ""
        assert "Interrupted." in said.err
        assert "Traceback" not in said.err
        assert "ignored" not in said.err
        assert wait_until(lambda: not members(group), 10), members(group)
    only_whole_records(gate, 2)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 5])
def test_ctrl_c_while_the_run_is_still_planning_writes_nothing(tmp_path: Path, times: int) -> None:
    process = start_cab(*RUN, "--variant", "none", cwd=tmp_path)
    with process_group(process) as group:
        assert wait_until(lambda: len(members(group)) > 1)
        time.sleep(1)  # the fork server is importing
        for _ in range(times):
            os.killpg(group, signal.SIGINT)
            time.sleep(0.03)
        said = finish(process, 30)
        assert said.code == 130, said.err
        assert said.out == ""
        assert "Traceback" not in said.err
        assert wait_until(lambda: not members(group), 10), members(group)
    assert list(tmp_path.glob("runs/records/*")) == []


def test_a_pipe_that_closes_early_is_no_traceback(tmp_path: Path) -> None:
    process = start_cab("list", "variants", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(30)
    process.stderr.close()
    assert "Traceback" not in err
