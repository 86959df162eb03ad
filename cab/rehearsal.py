"""A rehearsal of a cell in the fork server, so that no cell takes the first steps anew.

Much of a cell's first pass prepares the libraries: lazy imports, tables of formulas, caches, the
collector's first look at all that was imported. The server imports this module before it forks,
and goes through a small cell once; what that leaves behind, every cell finds done.

No cell can tell: it seeds what it draws from, sets what it relies on, and finds no state of
Accelerate. No code of others runs here: it might start threads or ask for a GPU, and neither
survives a fork.
"""

import contextlib
import gc
import importlib
import os
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

from cab.cells import Request, plan
from cab.fork_server import MODULES
from cab.jobs import Job, Outcome
from cab.profiles import get_profile
from cab.registry import Registry, name_of_role
from cab.taxonomy import TaskCard, VariantCard
from cab.worker import perform


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
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def prepare() -> None:
    """Import what the cells will, rehearse, and leave the forks little to look through.

    What fails here fails in the cells, too, and they say it.
    """
    for module in os.environ.pop(MODULES, "").split():
        with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(sys.stderr):
            importlib.import_module(module)
    # PyTorch built for GPUs asks for them, and Apple's linear algebra starts threads.
    if sys.platform == "linux" and not torch.backends.cuda.is_built():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with contextlib.suppress(Exception):
            rehearse()
        torch.set_num_threads(threads)
    gc.collect()
    gc.freeze()


prepare()
