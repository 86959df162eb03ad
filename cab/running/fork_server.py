"""The process that cells are forked from. It has imported what they need and run a small cell."""

import atexit
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from cab.errors import CabError
from cab.registry import Registry
from cab.taxonomy import TaskCard

PARENTS = (signal.SIGINT, signal.SIGTERM)
"""Signals that tell the user's process to end: Ctrl-C reaches its children too, and whoever ends
a scheduler's job tells all of its processes. A child that died of it would look like a cell that
had failed, so that children leave them to the parent, and end with it."""

MODULES = "CAB_WARM_UP_MODULES"
"""The environment variable in which the server is told what to import: it takes no arguments."""

SCRATCH = "CAB_FORK_SERVER_SCRATCH"
"""The environment variable in which the server is told of its parent's temporary folder."""

LONGEST_SOCKET = 107
"""Bytes of a socket's path that every system takes, but for macOS, which takes 103."""


def scratch_folder() -> Path:
    """The folder for this process's temporary files, and for those of its cells.

    It goes when the process ends, and if that is killed, when its fork server ends.

    Raises:
        CabError: no folder has a path that is short enough for a socket inside.
    """
    room = LONGEST_SOCKET - 4 - len("/pymp-12345678/listener-12345678")
    before = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > room:
        usual = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]
        fitting = [one for one in usual if one and len(one) <= room and os.access(one, os.W_OK)]
        if not fitting:
            raise CabError(
                f"The path of the folder for temporary files, {tempfile.gettempdir()}, is too "
                f"long for a socket. Set the environment variable TMPDIR to a shorter one."
            )
        tempfile.tempdir = fitting[0]
    try:
        return Path(util.get_temp_dir())  # made once, and the same from then on
    finally:
        tempfile.tempdir = before


def _clean_up_after_parent() -> None:
    """In the server itself: see that it removes, at its end, what a killed parent leaves."""
    folder, parent = os.environ.pop(SCRATCH, None), os.getppid()

    def remove() -> None:
        if folder is not None and os.getppid() != parent:
            shutil.rmtree(folder, ignore_errors=True)

    if folder is not None:
        atexit.register(remove)


_clean_up_after_parent()


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
    os.environ[SCRATCH] = str(scratch_folder())
    # They are the parent's to handle; a process started while they are ignored ignores them too.
    handlers = {one: signal.signal(one, signal.SIG_IGN) for one in PARENTS}
    try:
        forkserver.ensure_running()
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
        os.environ.pop(MODULES, None)
        os.environ.pop(SCRATCH, None)
    return context


def end(process: ForkServerProcess) -> None:
    """End a process now if it goes on, and wait until it is gone."""
    if process.is_alive():
        process.kill()
    process.join()
