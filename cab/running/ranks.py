"""Several processes of one machine that train one cell together (torch.distributed, accelerate).

Rank 0 is the cell's own process. It starts the others, which do all that it does with their share
of every batch, and whose answers are the same numbers.
"""

import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import distributed

from cab.errors import Unsupported
from cab.running.fork_server import scratch_folder

PATIENCE = timedelta(minutes=30)
"""How long one process waits for the others: one may be loading data for the first time."""

ENDING = 60.0
"""Seconds that the others have to end after rank 0 has its answer."""


@dataclass(frozen=True)
class Rank:
    """One process of `size`; they find each other by a file."""

    number: int
    size: int
    device: str
    meeting: Path

    @property
    def variables(self) -> dict[str, str]:
        """What accelerate reads of its place."""
        names = ("RANK", "LOCAL_RANK")
        sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(self.size))
        return dict.fromkeys(names, str(self.number)) | sizes

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Be one of the group; accelerate then finds it made."""
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        if self.device == "cuda":
            torch.cuda.set_device(self.number)
        distributed.init_process_group(
            "nccl" if self.device == "cuda" else "gloo",
            init_method=f"file://{self.meeting}",
            rank=self.number,
            world_size=self.size,
            timeout=PATIENCE,
        )
        try:
            yield
        finally:
            distributed.destroy_process_group()
            for state in (AcceleratorState, PartialState, GradientState):
                state._reset_state()
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


@contextlib.contextmanager
def group(size: int, device: str, assist: Callable[[Any, Rank], None], job: Any) -> Iterator[None]:
    """Be rank 0 of a group whose other members run `assist(job, rank)`; alone if size is 1.

    Whatever rank 0 raises, or one of the others dies of, ends them all.

    Raises:
        Unsupported: more processes than GPUs.
    """
    if size == 1:
        yield
        return
    if device == "cuda" and size > torch.cuda.device_count():
        raise Unsupported(
            f"--processes {size} needs {size} GPUs, but PyTorch finds {torch.cuda.device_count()}."
        )
    threads = torch.get_num_threads()
    context = multiprocessing.get_context("spawn")  # a fork would inherit OpenMP's threads, dead
    with tempfile.TemporaryDirectory(prefix="ranks-", dir=scratch_folder()) as folder:
        ranks = [Rank(n, size, device, Path(folder, "meeting")) for n in range(size)]
        others = [context.Process(target=assist, args=(job, rank)) for rank in ranks[1:]]
        try:
            for process in others:
                process.start()
            torch.set_num_threads(max(1, threads // size))
            with ranks[0].joined():
                yield
            for process in others:
                process.join(ENDING)
        finally:
            torch.set_num_threads(threads)
            for process in others:
                if process.is_alive():
                    process.kill()
                process.join()
