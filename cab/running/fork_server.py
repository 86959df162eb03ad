"""The process that cells are forked from. It has imported what they need and run a small cell."""

import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess

from cab.registry import Registry
from cab.taxonomy import TaskCard

PARENTS = (signal.SIGINT, signal.SIGTERM)
"""Signals that tell the user's process to end: Ctrl-C reaches its children too, and whoever ends
a scheduler's job tells all of its processes. A child that died of it would look like a cell that
had failed, so that children leave them to the parent, and end with it."""

MODULES = "CAB_WARM_UP_MODULES"
"""The environment variable in which the server is told what to import: it takes no arguments."""


def start_fork_server(tasks: Registry[TaskCard] | None = None) -> ForkServerContext:
    """Start the server. It imports and warms up in the background, while the caller continues.

    Args:
        tasks: those of the cells that will be trained. Without them the server does not warm up,
            because measurements need a process that is as small and as new as possible.
    """
    context = multiprocessing.get_context("forkserver")
    # A cell that is killed leaves its libraries' semaphores to the tracker, which frees them and
    # would warn the user about each.
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    sys.warnoptions[:] = [*(one for one in sys.warnoptions if one != quiet), quiet]
    libraries = {library for task in (tasks.cards() if tasks else ()) for library in task.imports}
    # PyTorch's optimisers import its compiler, which takes as long as torch itself.
    warm_up = ["cab.running.warm_up"] if tasks else []
    context.set_forkserver_preload(
        ["cab.running.worker", "torch._dynamo", *sorted(libraries), *warm_up]
    )
    if tasks:
        os.environ[MODULES] = " ".join(tasks.modules())
    # They are the parent's to handle; a process started while they are ignored ignores them too.
    handlers = {one: signal.signal(one, signal.SIG_IGN) for one in PARENTS}
    try:
        forkserver.ensure_running()
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
        os.environ.pop(MODULES, None)
    return context


def end(process: ForkServerProcess) -> None:
    """End a process now if it goes on, and wait until it is gone."""
    if process.is_alive():
        process.kill()
    process.join()
