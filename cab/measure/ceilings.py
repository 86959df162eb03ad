"""Ceilings: what this device reaches in matrix products, copies and exponentials, measured."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from cab.measure.timers import Timer

POSSIBLE = 0.8
"""A median below this share of its ceiling's time is no measurement; ceilings have noise too."""
REPEATS, FEWEST, SHORTEST, LONGEST = 40, 5, 0.05, 0.15
"""Calls of each kind, five at least, and seconds: forty short calls are over in a few
milliseconds, in which another process may hold a core."""
COPIES = (1 << 18, 1 << 21, 1 << 24)
LARGEST_COPY = 1 << 28
"""Elements of the copies: rates differ by the level of the cache that holds them. The largest is
for GPUs, whose second-level cache holds tens of MB."""
EXPONENTIALS_PER_CLOCK = 16
"""Of a multiprocessor: exp2 in the table of arithmetic throughput of the CUDA programming guide,
for compute capability 8.x to 10.x. No copy of their results is fast enough to show it."""
CLOCK_IF_UNKNOWN = 2.0e9


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
    random = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.randn(shape, generator=random, device=device).to(kind)

    # Random numbers: zeros draw less power and run faster.
    a, b = draw(side, side), draw(side, side)
    with _fastest_products():
        flops = 2 * side**3 / _best(timer, lambda: a @ b)
    rates = {}
    for count in (*COPIES, LARGEST_COPY) if cuda else COPIES:
        source = draw(min(count, COPIES[1])).repeat(max(1, count // COPIES[1]))
        target = torch.empty_like(source)
        moved = 2 * count * source.element_size()
        rates[moved] = moved / _best(timer, lambda t=target, s=source: t.copy_(s))  # type: ignore[misc]
    if cuda:
        return Ceilings(flops, _exponential_units(), rates)
    x = draw(COPIES[0])
    # A fused softmax may take exponentials faster than the operation of that name.
    rows = x.view(256, -1)
    took = min(_best(timer, lambda: torch.exp(x)), _best(timer, lambda: rows.softmax(dim=-1)))
    return Ceilings(flops, x.numel() / took, rates)


@contextlib.contextmanager
def _fastest_products() -> Iterator[None]:
    """Let float32 go through tensor cores: a kernel may, and its ceiling is then that."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _exponential_units() -> float:
    """Exponentials per second of all multiprocessors of this GPU at its highest clock."""
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    kilohertz = getattr(device, "clock_rate", 0)  # torch tells it since 2.8
    clock = 1e3 * kilohertz if kilohertz else CLOCK_IF_UNKNOWN
    return EXPONENTIALS_PER_CLOCK * device.multi_processor_count * clock


def _best(timer: Timer, call: Callable[[], Any]) -> float:
    call()
    started, times = time.perf_counter(), list[float]()
    while True:
        times.append(timer.read(call).seconds)
        elapsed = time.perf_counter() - started
        enough = len(times) >= REPEATS and elapsed > SHORTEST
        if enough or (len(times) >= FEWEST and elapsed > LONGEST):
            return min(times)
