"""Time that a process was awake: what it spends stopped counts towards no time limit.

Ctrl-Z, a scheduler or a machine that is suspended stop a process for hours, and the limits of
cells and checks are about the time that they need.
"""

import threading
import time
from pathlib import Path

TICK = 1.0
"""Seconds within which whoever reads a clock must read it again."""

LONGEST = 5.0
"""A gap of more seconds between two readings is taken for a stop, unless the process worked for
half of it; a busy machine makes shorter ones."""


class AwakeClock:
    """A monotonic clock that leaves out the gaps between its readings.

    It is read at least every `TICK` seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last, self._worked = time.monotonic(), time.process_time()
        self._asleep = 0.0

    def now(self) -> float:
        """Read the clock, in seconds from an arbitrary start."""
        with self._lock:
            now, worked = time.monotonic(), time.process_time()
            gap = now - self._last
            if gap > LONGEST and worked - self._worked < gap / 2:
                self._asleep += gap
            self._last, self._worked = now, worked
            return now - self._asleep


_clocks: list[AwakeClock] = []


def start_clock() -> None:
    """Let this process keep such a clock, in a thread of its own, from now on."""
    clock = AwakeClock()
    _clocks[:] = [clock]

    def keep() -> None:
        while _clocks == [clock]:
            clock.now()
            time.sleep(TICK)

    threading.Thread(target=keep, daemon=True).start()


def awake() -> float:
    """The seconds that this process was awake, or all of them where it keeps no such clock."""
    return _clocks[0].now() if _clocks else time.monotonic()


def is_stopped(process: int | None) -> bool:
    """Whether a process is stopped, as by SIGSTOP; False where the system does not say."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("T", "t")
