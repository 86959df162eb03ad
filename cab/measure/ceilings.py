"""The measured peak rates of this device in matrix products, copies and exponentials."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from cab.measure.timers import Timer

POSSIBLE = 0.8
"""A median below this share of the least possible time is impossible; peak rates are noisy,
too."""
REPEATS, FEWEST, SHORTEST, LONGEST = 40, 5, 0.05, 0.15
"""Calls of each kind (FEWEST at least) and seconds: forty short calls end within milliseconds,
during which another process may hold a core."""
COPIES = (1 << 18, 1 << 21, 1 << 24)
LARGEST_COPY = 1 << 28
"""Elements of the copies: the rate depends on the cache level that holds them. The largest is for
GPUs, whose second-level cache holds tens of MB."""
EXPONENTIALS_PER_CLOCK = 16
"""Per multiprocessor: exp2 in the table of arithmetic throughput of the CUDA programming guide,
for compute capability 8.x to 10.x. It cannot be measured, since memory is too slow for the
results."""
CLOCK_IF_UNKNOWN = 2.0e9


@dataclass(frozen=True)
class Ceilings:
    """The best rates: operations and exponentials per second, bytes per second by size."""

    flops: float
    exponentials: float
    bytes: dict[int, float]

    def seconds(self, flops: int, exponentials: int, moved: int) -> float:
        """Return the least time for this work if all three units run in parallel."""
        return max(
            flops / self.flops, exponentials / self.exponentials, moved / self.byte_rate(moved)
        )

    def serial_seconds(self, flops: int, exponentials: int) -> float:
        """Return the least time if exponentials follow the products."""
        return flops / self.flops + exponentials / self.exponentials

    def byte_rate(self, moved: int) -> float:
        """Return the bytes per second of the largest copy that moves no more than this."""
        fitting = [size for size in self.bytes if size <= moved]
        return max(rate for size, rate in self.bytes.items() if size >= max(fitting, default=0))

    def best(self, other: "Ceilings") -> "Ceilings":
        """Return the higher of two measurements, rate by rate."""
        return Ceilings(
            max(self.flops, other.flops),
            max(self.exponentials, other.exponentials),
            {size: max(rate, other.bytes[size]) for size, rate in self.bytes.items()},
        )


def measure_ceilings(device: str, dtype: str, timer: Timer) -> Ceilings:
    """Time large calls of the three kinds and keep the best rates."""
    kind, cuda = getattr(torch, dtype), device.startswith("cuda")
    # Short calls on a CPU, so that at least one is not interrupted by another process.
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
    # A fused softmax may compute exponentials faster than torch.exp.
    rows = x.view(256, -1)
    took = min(_best(timer, lambda: torch.exp(x)), _best(timer, lambda: rows.softmax(dim=-1)))
    return Ceilings(flops, x.numel() / took, rates)


@contextlib.contextmanager
def _fastest_products() -> Iterator[None]:
    """Allow TF32, since a kernel may use it as well."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _exponential_units() -> float:
    """Return the exponentials per second of all multiprocessors at the GPU's highest clock."""
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    kilohertz = getattr(device, "clock_rate", 0)  # torch reports it since 2.8
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
