"""The jobs of a sweep on Slurm: whether they still run, and what went wrong in them."""

import contextlib
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

ASK_AGAIN = 10.0
"""Seconds between two questions to Slurm, whose controller serves everybody."""


@dataclass
class Jobs:
    """The jobs of an array.

    Slurm is asked for its queue. submitit asks its accounting, which not every cluster keeps, and
    without which a lost job would be waited for for ever.
    """

    jobs: Sequence[Any]
    cluster: str
    asked: float = -ASK_AGAIN
    waiting: bool = True

    def over(self) -> bool:
        """Whether none of them is queued or runs."""
        if self.cluster != "slurm":
            return all(job.done() for job in self.jobs)
        if all(_left_result(job) for job in self.jobs):
            return True
        if self.waiting and time.monotonic() - self.asked >= ASK_AGAIN:
            self.asked, self.waiting = time.monotonic(), queued(job.job_id for job in self.jobs)
        return not self.waiting

    def problems(self) -> dict[str, str]:
        """What the jobs say of the cells that they could not run, by key."""
        said: dict[str, str] = {}
        for job in self.jobs:
            if not self._lost(job):
                with contextlib.suppress(Exception):  # of a job that failed; see `problem`
                    said |= job.result()
        return said

    def problem(self) -> str:
        """Say why no job wrote a record."""
        for job in self.jobs:
            try:
                problem = "it left no result" if self._lost(job) else job.exception()
            except Exception as error:  # submitit's own reading of a lost job
                problem = error
            if problem is not None:
                where = f"See {job.paths.stderr}."
                said = last_line(problem)
                return f"Its job {job.job_id} ended without a record: {said}. {where}"
        return (
            "Its job ended without a record, because another run holds the cell. Rerun the "
            "command."
        )

    def _lost(self, job: Any) -> bool:
        """Whether submitit would wait for a result that does not come."""
        return self.cluster == "slurm" and not _left_result(job)

    def cancel(self) -> None:
        """Take them all out of the queue."""
        for job in self.jobs:
            job.cancel(check=False)


def last_line(error: object) -> str:
    """The last line of what an error says, or the name of its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _left_result(job: Any) -> bool:
    return bool(job.paths.result_pickle.exists())


def queued(jobs: Iterable[str]) -> bool:
    """Whether Slurm still has one of the jobs; if it does not answer, it may do so later."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    command = ["squeue", "--noheader", "--format=%i", "--jobs", ",".join(arrays)]
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode:  # Slurm forgets jobs some minutes after their end
        return "Invalid job id" not in asked.stderr
    return bool(asked.stdout.strip())
