"""Sweeps on this machine: as many cells at once as it has cores or GPUs for."""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from cab.errors import counted
from cab.running.cells import Cell
from cab.running.environment import usable_cores
from cab.running.execution import Finished, Runner
from cab.running.jobs import Device
from cab.running.processes import Processes


@dataclass(frozen=True)
class LocalExecutor:
    """Each cell in a process of its own, `workers` at once, with `threads` each.

    Processes are not tied to cores: two sweeps on one machine would tie theirs to the same ones.

    Args:
        gpus: what to spread the cells over: each a GPU, or several with commas between them, as
            CUDA_VISIBLE_DEVICES names them.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def here(
        cls,
        device: Device,
        workers: int | None = None,
        threads: int | None = None,
        cells_per_gpu: int = 1,
        processes: int = 1,
    ) -> "LocalExecutor":
        """Fill this machine: a worker per core group, or `cells_per_gpu` on every GPU.

        A cell of several processes takes as many GPUs.
        """
        cores = usable_cores()
        gpus = grouped(visible_gpus(), processes) if device == "cuda" else ()
        if gpus:
            workers = workers or len(gpus) * cells_per_gpu
        workers = workers or max(1, cores // (threads or 1))
        return cls(workers, threads or (max(1, cores // workers) if gpus else 1), gpus)

    @property
    def said(self) -> str:
        """How they run, in words."""
        on = f" on {counted(len(self.gpus), 'GPU')}" if self.gpus else ""
        return f"{self.workers} at once{on}, {counted(self.threads, 'thread')} each"

    def run(self, cells: Sequence[Cell], runner: Runner) -> Generator[Finished, None, None]:
        """Run cells as the runner says; yield each once, as soon as it needs nothing more."""
        places = Processes(self.workers, runner.context, self.threads, self.gpus)
        return replace(runner, places=places).each(cells)


def grouped(gpus: Sequence[str], size: int) -> tuple[str, ...]:
    """Put GPUs together, `size` for a cell; what is left over is not used.

    Where there are not so many, a cell has all, and says what it lacks.
    """
    whole = range(0, max(1, len(gpus) - size + 1), size)
    return tuple(",".join(gpus[first : first + size]) for first in whole) if gpus else ()


def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs that this process sees."""
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return tuple(name.strip() for name in named.split(",") if name.strip())
    import torch

    return tuple(str(number) for number in range(torch.cuda.device_count()))
