"""Atomic writing of files, locks that let one process write at a time, and safe reading.

Whatever stands in a file's place, reading it ends.
"""

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from cab.errors import CabError
from cab.records.text import one_line

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text(path: Path, largest: int) -> str:
    """Read a text file of at most so many bytes. Nothing but a plain file is opened.

    Raises:
        FileNotFoundError: there is nothing.
        CabError: it is no plain file, too large, unreadable or not UTF-8.
    """
    try:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFREG:
            raise CabError(
                f"{path} is {_KINDS.get(kind, 'something')} and not a plain file; it was skipped "
                f"and left unchanged. Put the file itself there."
            )
        if status.st_size > largest:
            raise CabError(f"{path} has {status.st_size} bytes; {largest} are allowed.")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise CabError(f"{path} cannot be read: {error}. It was left unchanged.") from None


def parse_json(text: str) -> Any:
    """Read a JSON document.

    Raises:
        ValueError: it is none, or is nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise ValueError(one_line(str(error), 120)) from None


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
        beside.unlink(missing_ok=True)
        raise


def write_file(path: Path, text: str, what: str) -> None:
    """Write a text to a file that the user named: all of it or nothing.

    A link is followed. A pipe or a device, such as /dev/stdout, is written to as it is.

    Args:
        what: what the text is, for the error, such as "The report".

    Raises:
        CabError: the file cannot be written. What stood there stays.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        with whole(path.resolve()) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, what, error) from None


def try_writing(
    path: Path, what: str, *, folder: bool = False, parents: bool | None = None
) -> None:
    """Find out, before any work is done, whether its result can be written.

    Nothing is left behind, and folders that are missing are not made yet.

    Args:
        path: the file, or with `folder` the folder of files.
        what: what is to be written, for the error.
        parents: whether folders that are missing are made later; by default those of a folder.

    Raises:
        CabError: it cannot be written.
    """
    place = path if folder else path.resolve().parent
    try:
        if not folder and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not folder and path.exists() and not path.is_file():
            return  # a pipe or a device
        while (folder if parents is None else parents) and not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _unwritable(path, what, error) from None


def _unwritable(path: Path, what: str, error: OSError) -> CabError:
    reason = error.strerror or str(error)
    return CabError(f"{what} cannot be written to {path}: {reason}. Choose another place.")


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
