"""Ceilings: what this device reaches in matrix products, copies and exponentials, measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from cab.measure.timers import Timer

POSSIBLE = 0.8
"""A median below this share of its ceiling's time is no measurement; ceilings have noise too."""
REPEATS, REPEATS_FOR = 40, 0.15
"""Calls of each kind at most, and seconds; five calls at least."""
COPIES = (1 << 18, 1 << 21, 1 << 24)
"""Elements of the copies: rates differ by the level of the cache that holds them."""


@dataclass(frozen=True)
class Ceilings:
    """The best rates seen: operations and exponentials per second, bytes per second by size."""

    flops: float
    exponentials: float
    bytes: dict[int, float]

    def seconds(self, flops: int, exponentials: int, moved: int) -> float:
        """The least time for this work if all three units run beside each other."""
        return max(
            flops / self.flops, exponentials / self.exponentials, moved / self.byte_rate(moved)
        )

    def serial_seconds(self, flops: int, exponentials: int) -> float:
        """Products and exponentials one after the other."""
        return flops / self.flops + exponentials / self.exponentials

    def byte_rate(self, moved: int) -> float:
        """Bytes per second of the largest copy that moves no more than this."""
        fitting = [size for size in self.bytes if size <= moved]
        return max(rate for size, rate in self.bytes.items() if size >= max(fitting, default=0))

    def best(self, other: "Ceilings") -> "Ceilings":
        """The higher of two measurements, rate by rate."""
        return Ceilings(
            max(self.flops, other.flops),
            max(self.exponentials, other.exponentials),
            {size: max(rate, other.bytes[size]) for size, rate in self.bytes.items()},
        )


def measure_ceilings(device: str, dtype: str, timer: Timer) -> Ceilings:
    """Time large calls of the three kinds; the best of a few, for a ceiling is what can be."""
    kind, cuda = getattr(torch, dtype), device.startswith("cuda")
    # On a CPU short calls: one of them at least shall not be cut by another process.
    side = 8192 if cuda else 256
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.randn(shape, generator=random).to(device, kind)

    # Random numbers: zeros draw less power and run faster.
    a, b = draw(side, side), draw(side, side)
    flops = 2 * side**3 / _best(timer, lambda: a @ b)
    x = draw(COPIES[-1] if cuda else COPIES[0])
    # A fused softmax may take exponentials faster than the operation of that name.
    rows = x.view(256, -1)
    took = min(_best(timer, lambda: torch.exp(x)), _best(timer, lambda: rows.softmax(dim=-1)))
    exponentials = x.numel() / took
    rates = {}
    for count in COPIES:
        source = draw(count) if count <= COPIES[1] else torch.empty(0)
        source = source if source.numel() else draw(COPIES[1]).repeat(count // COPIES[1])
        target = torch.empty_like(source)
        moved = 2 * count * source.element_size()
        rates[moved] = moved / _best(timer, lambda t=target, s=source: t.copy_(s))  # type: ignore[misc]
    return Ceilings(flops, exponentials, rates)


def _best(timer: Timer, call: Callable[[], Any]) -> float:
    call()
    started, times = time.perf_counter(), list[float]()
    while len(times) < REPEATS:
        times.append(timer.read(call).seconds)
        if len(times) >= 5 and time.perf_counter() - started > REPEATS_FOR:
            break
    return min(times)
