"""A time limit for a law: it ends as a finding, whatever the variant does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PROCESSOR, CLOCK = 180.0, 900.0
"""Seconds that a law may take: of the processor, and by the clock on a machine that is busy."""
AGAIN = 1.0
"""Seconds after which the limit is raised again, should the variant have caught it."""


class TooLongError(BaseException):
    """A law reached its time limit. No Exception, so that neither laws nor variants catch it."""


@contextmanager
def deadline(processor: float = PROCESSOR, clock: float = CLOCK) -> Iterator[None]:
    """Raise TooLongError in the body at the limit, in the main thread of a Unix process.

    Elsewhere there are no such signals, and no limit. A call into compiled code ends first.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, processor),
        (signal.ITIMER_REAL, signal.SIGALRM, clock),
    )
    before = [(number, signal.signal(number, stop)) for _, number, _ in timers]
    left = [signal.setitimer(timer, seconds, AGAIN) for timer, _, seconds in timers]
    try:
        yield
    finally:
        for (timer, _, _), (number, handler), (remaining, interval) in zip(
            timers, before, left, strict=True
        ):
            signal.setitimer(timer, 0.0)
            signal.signal(number, handler)
            if remaining:  # somebody else's timer goes on
                signal.setitimer(timer, remaining, interval)
