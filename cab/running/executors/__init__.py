"""Where the cells of a sweep run: processes of this machine, a Ray cluster, jobs of Slurm.

`local` runs them as processes of this machine: read it first.
"""

from collections.abc import Generator, Sequence
from typing import Protocol

from cab.running.cells import Cell
from cab.running.execution import Finished, Runner


class Executor(Protocol):
    """Runs the cells of a sweep, many at once."""

    @property
    def said(self) -> str:
        """How they run, in words."""

    def run(self, cells: Sequence[Cell], runner: Runner) -> Generator[Finished, None, None]:
        """Run cells as the runner says; yield each once, as soon as it needs nothing more.

        The records are in the runner's store by then. Finished cells are skipped, and a cell
        that another run holds is waited for.
        """
