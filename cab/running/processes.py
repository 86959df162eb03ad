"""Cells in processes of this machine: started from the fork server, watched, ended in time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

from cab.running.awake import TICK, AwakeClock, is_stopped
from cab.running.fork_server import end, start_fork_server
from cab.running.jobs import Ended, Job, Outcome, Progressed
from cab.running.worker import work


@dataclass
class _Running:
    job: Job
    slot: int
    process: ForkServerProcess
    started: float
    deadline: float


class Processes:
    """Runs each job in a process of its own, `count` at once; `Places` of this machine.

    Args:
        count: how many processes there are at most.
        context: a fork server that runs already.
        threads: of each process; None leaves the number to PyTorch.
        gpus: what CUDA_VISIBLE_DEVICES calls the GPUs here; process i sees the one at i modulo
            their number, and may take its share of the memory. None are hidden by default.
    """

    def __init__(
        self,
        count: int = 1,
        context: ForkServerContext | None = None,
        threads: int | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        self._count, self._context = count, context
        self._threads, self._gpus = threads, gpus
        self._free = list(range(count))
        self._running: dict[Connection, _Running] = {}
        self._clock = AwakeClock()

    @property
    def count(self) -> int:
        """How many jobs it takes at once."""
        return self._count

    def start(self, job: Job) -> None:
        """Start a job's process."""
        self._context = self._context or start_fork_server(job.tasks)
        slot = min(self._free)
        job = placed(job, slot, self._count, self._threads, self._gpus)
        here, there = self._context.Pipe(duplex=False)
        try:
            process = self._context.Process(target=work, args=(job, there))
            process.start()
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        self._free.remove(slot)
        # Counted from here, since the first start waits for the fork server's own imports.
        deadline = self._clock.now() + job.cell.profile.time_limit
        self._running[here] = _Running(job, slot, process, time.monotonic(), deadline)

    def wait(self, seconds: float) -> list[Progressed | Ended]:
        """Return what has happened, after at most so many seconds; a job may be out of time.

        Time in which this process or the job's was stopped does not count.
        """
        if not self._running:
            time.sleep(seconds)
            return []
        before = self._clock.now()
        first = min(one.deadline for one in self._running.values()) - before
        ready = connection.wait(list(self._running), max(0.0, min(seconds, first, TICK)))
        now = self._clock.now()
        for one in self._running.values():
            if is_stopped(one.process.pid):
                one.deadline += now - before
        events = [self._listen(one) for one in ready if isinstance(one, Connection)]
        for late in [here for here, one in self._running.items() if one.deadline <= now]:
            events.append(self._end(late, _out_of_time(self._running[late].job)))
        return events

    def _listen(self, here: Connection) -> Progressed | Ended:
        one = self._running[here]
        try:
            kind, content = here.recv()
        except (EOFError, OSError):
            one.process.join()
            return self._end(here, Outcome(message=_death(one.process.exitcode)))
        if kind == "outcome":
            assert isinstance(content, Outcome)
            return self._end(here, content)
        return Progressed(one.job.cell.key, *content)

    def _end(self, here: Connection, outcome: Outcome) -> Ended:
        one = self._running.pop(here)
        end(one.process)
        here.close()
        self._free.append(one.slot)
        return Ended(one.job.cell.key, outcome, time.monotonic() - one.started)

    def stop(self) -> None:
        """End what still runs."""
        for here, one in self._running.items():
            end(one.process)
            here.close()
            self._free.append(one.slot)
        self._running.clear()


def placed(job: Job, slot: int, count: int, threads: int | None, gpus: Sequence[str]) -> Job:
    """Give a job the threads and the GPU of the process in a slot, of `count`."""
    if not gpus:
        return replace(job, threads=threads or job.threads)
    sharing = len(range(slot % len(gpus), count, len(gpus)))
    return replace(job, threads=threads, gpu=gpus[slot % len(gpus)], gpu_share=1 / sharing)


def _out_of_time(job: Job) -> Outcome:
    profile = job.cell.profile
    message = (
        f"not finished within {profile.time_limit:g} s, the time limit of profile {profile.name}"
    )
    return Outcome(status="timeout", message=message)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return (
            f"the cell's process was killed by signal {-code}; signal 9 often means that the "
            f"machine ran out of memory"
        )
    return f"the cell's process ended with exit code {code} before it returned a result"
