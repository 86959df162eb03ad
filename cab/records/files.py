"""Atomic writing of files, and locks that let one process write at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from cab.errors import CabError


@contextmanager
def whole(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yield a file to write to; at the end it replaces what stands at `path`.

    It is on the disk by then. If the block raises, nothing is left of it.

    Args:
        beside: a file on the same disk to write to; by default a new one in the same folder.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    if beside is None:
        beside = path.with_name(f".writing-{uuid4().hex}")
        beside.touch(exist_ok=False)  # readable by whom the user's mask allows, as others are
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise


@contextmanager
def alone(path: Path, command: str) -> Iterator[None]:
    """Keep a file from other processes that ask for it in this way.

    Args:
        path: the file; its folder is made if need be.
        command: what would write to it, for the error.

    Raises:
        CabError: another process has it, or its folder cannot be written.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise CabError(
            f"Another {command} is writing to {path}. Wait until it ends, or choose another file."
        ) from None
    except OSError as error:
        raise CabError(f"{path} cannot be written: {error}.") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
