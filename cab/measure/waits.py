"""How long the threads of a cell were ready to run but had no core.

The load average only counts processes of the last minute. A sample is disturbed if a thread waits
for a core, or if the host of a virtual machine takes one away.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROCESS, MACHINE = Path("/proc/self"), Path("/proc/stat")
MOST = 0.05
"""A row is disturbed if a thread waited for more than this share of the time."""


@dataclass(frozen=True)
class Waits:
    """Counters in seconds: clock, wait of each thread, time that the host took away."""

    clock: float
    threads: Mapping[str, float]
    stolen: float

    @classmethod
    def now(
        cls, process: Path = Path("/proc/self"), machine: Path = Path("/proc/stat")
    ) -> "Waits":
        """Read the counters; without /proc, no thread is known to have waited."""
        threads = {}
        for folder in process.glob("task/*"):
            with contextlib.suppress(OSError, ValueError, IndexError):  # a thread may have ended
                nanoseconds = (folder / "schedstat").read_text().split()[1]
                threads[folder.name] = int(nanoseconds) / 1e9
        stolen = 0.0
        with contextlib.suppress(OSError, ValueError, IndexError):
            ticks = int(machine.read_text().split(maxsplit=9)[8])
            stolen = ticks / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
        return cls(time.perf_counter(), threads, stolen)

    def share(self, before: "Waits") -> float | None:
        """Return the share of the time since `before` for which the slowest thread had no core.

        All threads of a parallel operation wait for the slowest. None without /proc.
        """
        elapsed = self.clock - before.clock
        if not self.threads or elapsed <= 0:
            return None
        waited = max(
            seconds - before.threads.get(thread, 0.0) for thread, seconds in self.threads.items()
        )
        return (waited + self.stolen - before.stolen) / elapsed
