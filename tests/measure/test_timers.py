"""A flush really flushes, and a clock measures."""

import time

import torch

from cab.measure.ceilings import Ceilings
from cab.measure.timers import ProcessorTimer, choose_timer, last_level_cache


def test_reading_is_slower_after_a_flush():
    timer = ProcessorTimer()
    # Half of a typical second-level cache: near when warm, in main memory when flushed.
    numbers = torch.ones(1 << 17)
    cold, warm = [], []
    for _ in range(40):
        timer.flush()
        cold.append(timer.read(numbers.sum).seconds)
        warm.append(min(timer.read(numbers.sum).seconds for _ in range(3)))
    assert min(cold) > 1.1 * min(warm)


def test_a_flush_touches_twice_the_last_level_cache():
    timer = ProcessorTimer()
    timer.flush()
    assert timer._buffer is not None
    size = timer._buffer.numel() * timer._buffer.element_size()
    assert size >= 2 * last_level_cache() - 4
    assert float(timer._buffer[-1]) == 1.0


def test_a_sleep_is_measured_and_its_answer_handed_back():
    reading = choose_timer("cpu").read(lambda: time.sleep(0.05) or "slept")
    assert 0.05 <= reading.seconds == reading.host_seconds
    assert reading.result == "slept"


def test_the_ceiling_is_the_slowest_of_three_units():
    ceilings = Ceilings(flops=100.0, exponentials=10.0, bytes={100: 50.0, 1000: 20.0})
    assert ceilings.seconds(1000, 0, 0) == 10.0
    assert ceilings.seconds(0, 1000, 0) == 100.0
    assert ceilings.seconds(0, 0, 2000) == 100.0  # from main memory
    assert ceilings.seconds(0, 0, 150) == 3.0  # from a cache
    assert ceilings.serial_seconds(1000, 100) == 20.0
    faster = Ceilings(flops=50.0, exponentials=20.0, bytes={100: 10.0, 1000: 40.0})
    assert ceilings.best(faster) == Ceilings(100.0, 20.0, {100: 50.0, 1000: 40.0})
