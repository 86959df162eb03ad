"""Whether a cell had the processor to itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cab.measure.waits import MOST, Waits


def test_the_slowest_thread_and_the_host_count() -> None:
    before = Waits(10.0, {"1": 1.0, "2": 5.0}, 2.0)
    # Thread 3 began meanwhile; thread 1 has ended.
    after = Waits(20.0, {"2": 5.5, "3": 0.75}, 2.25)
    assert after.share(before) == pytest.approx((0.75 + 0.25) / 10)
    assert before.share(before) is None
    assert Waits(20.0, {}, 3.0).share(before) is None


def test_a_machine_is_read_as_its_kernel_tells(tmp_path: Path) -> None:
    for thread, line in {"7": "900 1500000000 3\n", "8": "900 20 3\n", "9": ""}.items():
        (tmp_path / "task" / thread).mkdir(parents=True)
        (tmp_path / "task" / thread / "schedstat").write_text(line)
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 600 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
    found = Waits.now(tmp_path, stat)
    assert found.threads == {"7": 1.5, "8": pytest.approx(2e-8)}
    ticks = os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
    assert found.stolen == pytest.approx(600 / ticks)
    assert Waits.now(tmp_path / "nothing", tmp_path / "nothing").threads == {}


BUSY = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(flush=True)
while True: pass
"""
SHARES = """
import os, time
from cab.measure.waits import Waits
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
before, end = Waits.now(), time.process_time() + 0.5
while time.process_time() < end: pass
print(Waits.now().share(before))
"""


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel does not count what waits"
)
def test_who_shares_a_core_has_waited() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            said = subprocess.run(
                [sys.executable, "-c", SHARES], capture_output=True, text=True, check=True
            )
        finally:
            busy.kill()
    assert float(said.stdout) > 5 * MOST
