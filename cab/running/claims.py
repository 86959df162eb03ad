"""Claims on cells: a lock in the store, held while a cell runs, and disk space for its record."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from cab.errors import CabError
from cab.running.cells import Cell

RECORD_SPACE = 1 << 18
"""Bytes reserved on the disk for the record of each running cell, about ten times its size."""


@dataclass(frozen=True)
class Claim:
    """A cell that is this run's to do, for as long as the lock is held."""

    cell: Cell
    lock: FileLock
    space: Path
    started: datetime

    def give_up(self, done: bool = False) -> None:
        """Leave the cell to others, or to nobody if it is done."""
        self.space.unlink(missing_ok=True)
        if done:  # whoever waits for the lock looks for the record first, so its file may go
            Path(self.lock.lock_file).unlink(missing_ok=True)
        self.lock.release()


def reserve(path: Path) -> None:
    """Take the space of a record before its cell runs, so that no result meets a full disk.

    Raises:
        CabError: there is not so much space.
    """
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, RECORD_SPACE)
    except OSError as error:
        raise CabError(
            f"There is no space for a record in {path.parent.parent}: {error}. The cell was not "
            f"started. Free some space and rerun the same command."
        ) from None


@contextmanager
def given_up(claims: Mapping[str, Claim]) -> Iterator[None]:
    """Whatever happens, leave the claims that are still held to others."""
    try:
        yield
    finally:
        for claim in claims.values():
            claim.give_up()
