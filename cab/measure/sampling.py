"""Warm up until times are steady, then sample all mechanisms in turn."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from cab.measure.passes import Passage
from cab.measure.points import Limits
from cab.measure.statistics import summarise
from cab.measure.timers import Timer

STEADY, WINDOW, MOST_WARM_CALLS = 0.05, 5, 100
"""Times are steady if the medians of the last two windows of calls differ by less than STEADY."""
NARROW, MOST_ROUNDS = 0.01, 5
"""Sampling goes on until every interval is this narrow, up to MOST_ROUNDS x the requested
samples."""
FEWEST = 20
WARM_SAMPLES = 20


@dataclass
class Taken:
    """The samples of one mechanism in seconds, cold and warm, in the order of measurement."""

    cold: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    last_sample: int = -1
    last_result: object = None


def warm_up(passage: Passage, timer: Timer, seconds: float) -> float:
    """Call until the running median is steady or the time is up; return the last median."""
    times: list[float] = []
    started = _clock([passage])
    while len(times) < MOST_WARM_CALLS:
        times.append(timer.read(passage.call(("warm-up", len(times)))).seconds)
        if len(times) >= 2 * WINDOW:
            before, now = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
            if abs(now / before - 1) < STEADY:
                break
        if len(times) >= 2 and _clock([passage]) - started > seconds:
            break
    return median(times[-WINDOW:])


def interleave(
    passages: Sequence[Passage],
    timer: Timer,
    limits: Limits,
    draw: Random,
    failed: Callable[[Passage, Exception], None],
) -> dict[Passage, Taken]:
    """Sample mechanisms in turn (A B B A) in random order, with flushed caches.

    Every other round goes through the mechanisms in reverse. A mechanism that raises an exception
    is passed to `failed` and no longer sampled.
    """
    taken = {passage: Taken() for passage in passages}
    order = list(passages)
    draw.shuffle(order)
    started, rounds = _clock(order), 0
    while taken and _wants_more(taken, rounds, limits, _clock(order) - started):
        forward = rounds % 2 == 0
        for passage in order if forward else reversed(order):
            if passage not in taken:
                continue
            try:
                call = passage.call(rounds)
                timer.flush()
                reading = timer.read(call)
            except Exception as error:  # the mechanism may raise anything
                del taken[passage]
                failed(passage, error)
                continue
            one = taken[passage]
            one.cold.append(reading.seconds)
            one.host.append(reading.host_seconds)
            one.last_sample, one.last_result = rounds, reading.result
        rounds += 1
    for one in taken.values():  # the tensors that it may share with an input are filled again
        one.last_result = tree_map_only(Tensor, torch.clone, one.last_result)
    for passage, one in taken.items():
        one.warm = _warm_samples(passage, timer, limits.seconds / 2)
    return taken


def _warm_samples(passage: Passage, timer: Timer, seconds: float) -> list[float]:
    """Return times with warm caches: just before, the same call ran on other numbers."""
    samples: list[float] = []
    started = _clock([passage])
    while len(samples) < WARM_SAMPLES:
        timed, other = (passage.call(("warm", len(samples), one)) for one in ("timed", "other"))
        timer.read(other)
        samples.append(timer.read(timed).seconds)
        if len(samples) >= 3 and _clock([passage]) - started > seconds:
            break
    return samples


def _clock(passages: Sequence[Passage]) -> float:
    """Return seconds, without those in which numbers were drawn."""
    return time.perf_counter() - sum(passage.drawing for passage in passages)


def _wants_more(taken: dict[Passage, Taken], rounds: int, limits: Limits, elapsed: float) -> bool:
    if rounds < max(FEWEST, limits.samples):
        return True
    if elapsed > limits.seconds * len(taken) or rounds >= MOST_ROUNDS * limits.samples:
        return False
    summaries = [summarise(one.cold) for one in taken.values()]
    return any((s.high - s.low) / s.median > NARROW for s in summaries)
