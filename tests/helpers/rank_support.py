"""Processes of a gloo group on this machine, for tests of what shares a sequence."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed


def on_ranks(
    count: int, task: Callable[..., dict[str, Tensor]], folder: Path, **options: Any
) -> list[dict[str, Tensor]]:
    """Run `task(group, **options)` on so many ranks; return the tensors that each gave."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_run, args=(rank, count, task, folder, options))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count
    return [load_file(folder / f"{rank}.safetensors") for rank in range(count)]


def _run(rank: int, size: int, task: Callable[..., Any], folder: Path, options: Any) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    try:
        found = task(distributed.group.WORLD, **options)
        save_file(
            {name: x.contiguous() for name, x in found.items()}, folder / f"{rank}.safetensors"
        )
    finally:
        distributed.destroy_process_group()
