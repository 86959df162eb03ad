"""Timers for each device, with flushed or warm caches."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

Call = Callable[[], Any]
FLUSHED = 2.0
"""A flush touches a buffer of this many times the size of the last-level cache."""
CACHE_IF_UNKNOWN = 32 << 20
LONGEST_SPIN, SPARE, FASTEST_CLOCK = 0.01, 1.5, 2.0e9
"""A GPU spins SPARE times as long as the host needed to issue the last call (LONGEST_SPIN seconds
at most). The spin is given in cycles of FASTEST_CLOCK, so that a slower GPU spins longer."""


@dataclass(frozen=True)
class Reading:
    """One timed call in seconds: on the device, and per call in a loop.

    In a loop a call takes the host's time to issue it if that is longer than the device's time:
    the device then waits for launches.
    """

    seconds: float
    host_seconds: float
    result: Any = None


class Timer(Protocol):
    """Times single calls."""

    name: str

    def flush(self) -> None:
        """Remove the inputs from the caches of the device."""

    def read(self, call: Call) -> Reading:
        """Time one call."""


class ProcessorTimer:
    """CPU: the monotonic clock. Calls are synchronous, so both times are the same."""

    name = "perf_counter"

    def __init__(self) -> None:
        self._buffer: Tensor | None = None

    def flush(self) -> None:
        """Write and read a buffer of twice the last-level cache."""
        if self._buffer is None:
            self._buffer = torch.zeros(int(FLUSHED * last_level_cache()) // 4)
        self._buffer.add_(1.0)

    def read(self, call: Call) -> Reading:
        """Time one call."""
        started = time.perf_counter_ns()
        result = call()
        seconds = (time.perf_counter_ns() - started) / 1e9
        return Reading(seconds, seconds, result)


class EventTimer:
    """CUDA: events around the call, after a flush of twice the device's L2 cache.

    The device spins while the host issues the call, so that the time between the events includes
    no wait for launches, however short the kernels are.
    """

    name = "cuda_events_queued"

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self._buffer = torch.empty(int(FLUSHED * cache) // 4, device="cuda")
        self._issuing = LONGEST_SPIN

    def flush(self) -> None:
        """Write a buffer of twice the L2 cache, in stream order and without waiting."""
        self._buffer.zero_()

    def read(self, call: Call) -> Reading:
        """Time one call, including its own waits for the host."""
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        torch.cuda._sleep(int(SPARE * self._issuing * FASTEST_CLOCK))
        started = time.perf_counter_ns()
        first.record()
        result = call()
        last.record()
        issued = (time.perf_counter_ns() - started) / 1e9
        torch.cuda.synchronize()
        self._issuing = min(issued, LONGEST_SPIN)
        seconds = first.elapsed_time(last) / 1e3
        return Reading(seconds, max(issued, seconds), result)


def choose_timer(device: str) -> Timer:
    """Return the timer of a device: events on CUDA, the clock on a CPU."""
    return EventTimer() if device.startswith("cuda") else ProcessorTimer()


def last_level_cache() -> int:
    """Return the size of the CPU's last-level cache in bytes, or a high estimate of it."""
    found = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        scale = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
        if text.rstrip("KM").isdigit():
            found.append(int(text.rstrip("KM")) * scale)
    return max(found, default=CACHE_IF_UNKNOWN)


def load_average() -> float | None:
    """Return the load average of the last minute, or None where the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
