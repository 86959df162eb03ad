"""Sweeps that are large, fast, or killed again and again."""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_support import cab, environment, finish, process_group, start_cab
from support import HELPERS, REPOSITORY
from sweep_support import command, plug_in, stored

KILLS = 200


@pytest.mark.slow
def test_sweeps_killed_200_times_end_with_the_records_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    script = HELPERS / "killed_sweeps.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS), "0"],
        env=environment(**plug_in(tmp_path)),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    undisturbed = stored(tmp_path / "undisturbed")
    assert len(undisturbed) == 100
    assert {status for status, _ in undisturbed.values()} == {"ok"}
    # Provenance asks git, which keeps a lock of its own if it is killed while it refreshes.
    assert not (REPOSITORY / ".git" / "index.lock").exists()
    stores = sorted(tmp_path.glob("store-*"))
    assert stores
    for store in stores:
        assert stored(store) == undisturbed


TIMED = """
import os
import time

untimed = Trivial.evaluate


def evaluate(self, model, batch):
    with open(os.environ["CELL_TIMES"], "a") as file:
        print(os.getpid(), time.process_time(), file=file)
    return untimed(self, model, batch)


Trivial.evaluate = evaluate
"""
"""What a test adds to the task so that each cell notes its processor time, in seconds."""


@pytest.mark.slow
def test_a_cell_costs_a_fork_and_not_the_import_of_pytorch(tmp_path: Path) -> None:
    """In processor time, since the machine runs other tests too; alone, two workers end 26 cells
    a second."""
    found = plug_in(tmp_path) | {"CELL_TIMES": str(tmp_path / "times")}
    with (tmp_path / "trivial_task.py").open("a") as task:
        task.write(TIMED)
    said = cab(*command(tmp_path / "store", seeds=100), cwd=tmp_path, timeout=300, **found)
    assert said.code == 0, said.err
    lines = (tmp_path / "times").read_text().splitlines()
    cells = {process: float(seconds) for process, seconds in map(str.split, lines)}
    assert len(cells) == 100
    program = "import time, torch; print(time.process_time())"
    alone = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert statistics.median(cells.values()) < float(alone.stdout) / 10


def seconds_of(process: int) -> float:
    """Processor time of a process alone, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_a_plan_of_10000_cells_starts_within_5_seconds_and_500_mb(tmp_path: Path) -> None:
    sweep = command(tmp_path / "store", seeds=10_000)
    process = start_cab(*sweep, cwd=tmp_path, **plug_in(tmp_path))
    assert process.stderr is not None
    with process_group(process) as group:
        lines = iter(process.stderr.readline, "")
        assert any("started" in line for line in lines)
        # Of the processor: what the clock says is also other processes' doing.
        seconds = seconds_of(group)
        status = Path(f"/proc/{group}/status").read_text()
        (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        time.sleep(0.5)
        os.kill(group, signal.SIGTERM)
        assert finish(process, 60).code == 130
    assert seconds < 5
    assert int(peak) < 500_000
    assert len(stored(tmp_path / "store")) < 10_000
