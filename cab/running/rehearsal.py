"""A rehearsal of a cell in the fork server, so that no cell takes the first steps anew.

Much of a cell's first pass prepares the libraries: lazy imports, tables of formulas, caches, the
collector's first look at all that was imported. The server imports this module before it forks,
and goes through a small cell once; what that leaves behind, every cell finds done.

No cell can tell: what it could see is set back, and a mechanism's modules are forgotten, since a
cell imports them when its source has been compared with the plan's. Where there may be a GPU, no
code of others runs here: it might ask for that one, which does not survive a fork.
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


def rehearse() -> None:
    """Go through a smoke cell of the reference, as a cell's process does, but for its limits."""
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
    """Set back what a cell, or the laws, could see of what is done meanwhile."""
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
    """Import what the cells will, rehearse, and leave the forks little to look through.

    What fails here fails in the cells, too, and they say it.
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
            rehearse()
    gc.collect()
    gc.freeze()


prepare()
