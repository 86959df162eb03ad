"""The batches of training: drawn where they are used, or ahead of it by a thread.

A batch depends on the task, the seed and its step alone. All of them are drawn by one thread in
the order of the steps, from the same generator, so drawing ahead changes no bit.

The thread draws ahead on CUDA, where the processor is otherwise idle while the device works. On
a CPU it does not: a cell uses all threads that it was given, and a sweep gives every core to a
cell, so a thread that draws takes the time of training.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator

from cab.task import Batch, Task, level_at, slice_batch

AHEAD = 4
"""How many batches are drawn ahead on CUDA. They are kept in the main memory."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Drawn:
    """The batch of a step: this process's share of it, and what part of the loss's terms it holds.

    tokens are those of the whole batch, which all processes share.
    """

    level: Task
    batch: Batch
    part: float
    tokens: int


def batches_ahead(device: torch.device) -> int:
    """How many batches training on a device draws ahead; 0 draws each when it is needed."""
    return AHEAD if device.type == "cuda" else 0


def training_batches(
    levels: Sequence[Task], source: torch.Generator, accelerator: Accelerator
) -> Iterator[Drawn]:
    """Draw the batch of each step. All levels have the same training settings.

    On CUDA the batches are put into page-locked memory, from which they are copied to the device
    while it works.
    """
    recipe, pinned = levels[0].recipe.train, accelerator.device.type == "cuda"
    for step in range(1, recipe.steps + 1):
        level = levels[level_at(step, recipe.steps, len(levels))]
        whole = level.draw("train", recipe.batch_size, source)
        batch, part = _share(level, whole, accelerator)
        if pinned:
            batch = {name: value.pin_memory() for name, value in batch.items()}
        yield Drawn(level, batch, part, level.tokens(whole))


def drawn_ahead(source: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """Yield what a source yields, which a thread keeps `ahead` items in front of its reader.

    What the source raises is raised when the reader comes to that item. Whoever does not read to
    the end closes the generator, which waits for the item that is being drawn, so that no thread
    is left. With `ahead` = 0 no thread is started.
    """
    if ahead < 1:
        yield from source
        return
    items, end = iter(source), object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        waiting = deque(pool.submit(next, items, end) for _ in range(ahead))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)


def _share(task: Task, whole: Batch, accelerator: Accelerator) -> tuple[Batch, float]:
    """Return this process's share of a batch, and what part of the loss's terms it holds."""
    rank, count = accelerator.process_index, accelerator.num_processes
    if count == 1:
        return whole, 1.0
    examples = len(next(iter(whole.values())))
    share = slice_batch(whole, rank * examples // count, (rank + 1) * examples // count)
    return share, task.loss_terms(share) / task.loss_terms(whole)
