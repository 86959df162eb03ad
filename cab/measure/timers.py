"""Timers: the best that a device offers, by name, with a cache that is flushed or left warm."""

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
"""A flush touches a buffer of this many times the last-level cache."""
CACHE_IF_UNKNOWN = 32 << 20


@dataclass(frozen=True)
class Reading:
    """One timed call in seconds: on the device, and by the host's clock until it was done."""

    seconds: float
    host_seconds: float
    result: Any = None


class Timer(Protocol):
    """Times single calls."""

    name: str

    def flush(self) -> None:
        """Make the caches of the device forget the inputs."""

    def read(self, call: Call) -> Reading:
        """Time one call."""


class ProcessorTimer:
    """CPU: the host's monotonic clock. The calls run to their end, so both times are one."""

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
    """CUDA: events around the call, after a flush of twice the device's own L2."""

    name = "cuda_events"

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self._buffer = torch.empty(int(FLUSHED * cache) // 4, device="cuda")

    def flush(self) -> None:
        """Write a buffer of twice the L2; in stream order, so no wait."""
        self._buffer.zero_()

    def read(self, call: Call) -> Reading:
        """Time one call. The events are on the stream: launches that wait count."""
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        started = time.perf_counter_ns()
        first.record()
        result = call()
        last.record()
        torch.cuda.synchronize()
        host = (time.perf_counter_ns() - started) / 1e9
        return Reading(first.elapsed_time(last) / 1e3, host, result)


def choose_timer(device: str) -> Timer:
    """The timer of a device: events on CUDA, the clock on a CPU."""
    return EventTimer() if device.startswith("cuda") else ProcessorTimer()


def last_level_cache() -> int:
    """Bytes of the CPU's last-level cache, as the kernel says, else a guess on the large side."""
    found = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        scale = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
        if text.rstrip("KM").isdigit():
            found.append(int(text.rstrip("KM")) * scale)
    return max(found, default=CACHE_IF_UNKNOWN)


def load_average() -> float | None:
    """How many processes wanted to run in the last minute: a busy machine times others' work."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
