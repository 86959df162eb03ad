"""The process that cells are forked from: it has imported torch once, and runs nothing itself."""

import multiprocessing
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def start_fork_server() -> ForkServerContext:
    """Start the server. It imports beside the caller, who can plan meanwhile."""
    context = multiprocessing.get_context("forkserver")
    # A cell that is killed leaves its libraries' semaphores to the tracker, which frees them and
    # would warn the user about each.
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
    # PyTorch's optimisers import its compiler, which takes as long as torch itself.
    context.set_forkserver_preload(["cab.worker", "torch._dynamo"])
    # Ctrl-C is the parent's to handle; a process started while it is ignored ignores it too.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
    return context
