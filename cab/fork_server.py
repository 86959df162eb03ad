"""The process that cells are forked from: it has imported torch once, and runs nothing itself."""

import multiprocessing
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
    forkserver.ensure_running()
    return context
