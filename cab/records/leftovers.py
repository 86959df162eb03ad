"""What a killed run leaves in a store, and its removal by the next run."""

import contextlib
import time
from pathlib import Path

from filelock import FileLock, Timeout

from cab.records.store import RecordStore

OLD = 3600.0
"""Seconds after which a file that is still not in its place is nobody's any more."""


def clear_leftovers(store: RecordStore) -> None:
    """Remove the locks and the reserved space of runs that were killed, and half-written files.

    What another run holds is left to it.
    """
    for path in store.locks.glob("*"):
        if path.suffix not in (".lock", ".space", ".change"):
            continue
        with contextlib.suppress(Timeout, OSError), FileLock(_lock_of(path), timeout=0):
            path.with_suffix(".space").unlink(missing_ok=True)
            _lock_of(path).unlink(missing_ok=True)
    for path in store.folder.glob(".writing-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD:
                path.unlink()


def _lock_of(path: Path) -> Path:
    return path if path.suffix == ".change" else path.with_suffix(".lock")
