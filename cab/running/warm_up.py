"""Warm-up of the fork server, so that cells start faster.

Much of a cell's first pass prepares the libraries: lazy imports, tables of formulas, caches, the
garbage collector's first pass over all imported objects. The server imports this module before it
forks and runs one small cell, so that every forked cell finds this work done.

The warm-up does not change any cell. All state that a cell could observe is restored, and the
modules of mechanisms are unloaded, because a cell imports them only after their source has been
compared with the plan's. If the machine may have a GPU, the warm-up runs no third-party code:
that code might initialise the GPU, and a CUDA context does not survive a fork.
"""

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

from cab.profiles import get_profile
from cab.records.sources import FOLLOWED
from cab.registry import Registry, name_of_role
from cab.running.cells import Request, plan
from cab.running.fork_server import MODULES
from cab.running.jobs import Job, Outcome
from cab.running.worker import perform
from cab.taxonomy import TaskCard, VariantCard


def warm_up() -> None:
    """Run a smoke cell of the reference as a cell's process does, but without limits."""
    variants, tasks = Registry("variant", VariantCard), Registry("task", TaskCard)
    variants.add_package("cab.variants")
    tasks.add_package("cab.tasks")
    reference = name_of_role(variants, "reference")
    task = next(card for card in tasks.cards() if card.domain == "retrieval" and not card.data)
    request = Request([reference], get_profile("smoke"), tasks=[task.name], unchecked=True)
    (cell,) = plan(request, variants, tasks).cells
    perform(Job(cell, Path(), "cpu", variants, tasks), Outcome(), lambda done, total: None)


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Restore the state that a cell or the laws could observe."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)  # others would not survive the fork
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        for name in [name for name in sys.modules if name.startswith(FOLLOWED)]:
            del sys.modules[name]


def prepare() -> None:
    """Import what the cells need, warm up, and freeze the garbage collector's objects.

    What fails here also fails in the cells, which report it.
    """
    # PyTorch for other devices asks for them, and Apple's linear algebra starts threads.
    plain = sys.platform == "linux" and torch.accelerator.current_accelerator() is None
    for module in os.environ.pop(MODULES, "").split():
        if not (plain or module.startswith("cab.")):
            continue
        with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(sys.stderr):
            importlib.import_module(module)
    if plain:
        with contextlib.suppress(Exception), unseen():
            warm_up()
    gc.collect()
    gc.freeze()


prepare()
