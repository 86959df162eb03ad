"""The process that cells are forked from: it has imported torch once, and runs nothing itself."""

import multiprocessing
import signal
import sys
from collections.abc import Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess

from cab.taxonomy import TaskCard

PARENTS = (signal.SIGINT, signal.SIGTERM)
"""Signals that tell the user's process to end: Ctrl-C reaches its children too, and whoever ends
a scheduler's job tells all of its processes. A child that died of it would look like a cell that
had failed, so that children leave them to the parent, and end with it."""


def start_fork_server(tasks: Iterable[TaskCard]) -> ForkServerContext:
    """Start the server for cells of these tasks. It imports beside the caller, who goes on."""
    context = multiprocessing.get_context("forkserver")
    # A cell that is killed leaves its libraries' semaphores to the tracker, which frees them and
    # would warn the user about each.
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    sys.warnoptions[:] = [*(one for one in sys.warnoptions if one != quiet), quiet]
    libraries = sorted({library for task in tasks for library in task.imports})
    # PyTorch's optimisers import its compiler, which takes as long as torch itself; and every
    # process first runs the script that the user started, with all that it imports.
    program = {"cab.commands.app"} & sys.modules.keys()
    context.set_forkserver_preload(["cab.worker", "torch._dynamo", *program, *libraries])
    # They are the parent's to handle; a process started while they are ignored ignores them too.
    handlers = {one: signal.signal(one, signal.SIG_IGN) for one in PARENTS}
    try:
        forkserver.ensure_running()
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
    return context


def end(process: ForkServerProcess) -> None:
    """End a process now if it goes on, and wait until it is gone."""
    if process.is_alive():
        process.kill()
    process.join()
