"""Receive a file from an address, in bounded time and size, and go on where a transfer ended."""

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO, cast

from cab.errors import CabError

Progress = Callable[[int, int], None]
"""Called with the bytes so far and the total, or 0 if the total is unknown."""

BLOCK = 1 << 16
PATIENCE = 60.0
"""Seconds in which `LEAST` bytes must arrive."""
LEAST = 60_000


def download(address: str, part: Path, most: int, progress: Progress) -> None:
    """Receive a file, after the bytes that `part` holds already if the server allows.

    Args:
        most: bytes that the file may have.

    Raises:
        CabError: the address cannot be reached, answers too slowly or with too much, or the file
            cannot be written. What has arrived stays in `part`.
    """
    if part.exists() and not part.is_file():
        raise CabError(f"{part} is not a file. Move it away; the download is kept there.")
    done = part.stat().st_size if part.exists() else 0
    try:
        _receive(address, part, done, most, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # the partial file is complete, or is not of this address
            return
        raise CabError(
            f"{address} answered {error.code} {error.reason}; nothing was downloaded."
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # interrupted
        reason = getattr(error, "reason", error)
        raise CabError(
            f"{address} cannot be reached ({reason}). Rerun the command to resume the "
            f"download in {part}, or copy the data set by hand and set CAB_DATA to its folder."
        ) from None


def _receive(address: str, part: Path, done: int, most: int, progress: Progress) -> None:
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    arriving = _arriving(request)
    try:
        status, length = cast(tuple[int, int], next(arriving))
        done = done if status == 206 else 0
        total = done + length if length else 0
        with _open(part, "ab" if status == 206 else "wb") as file:
            for block in arriving:
                done += len(cast(bytes, block))
                if max(done, total) > most:
                    raise ConnectionError(
                        f"it sends more than the {most:,} bytes that are allowed"
                    )
                try:
                    file.write(cast(bytes, block))
                except OSError as error:
                    raise unwritable(part, error) from None
                progress(done, total)
        if done < total:
            raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")
    finally:
        arriving.close()


def _arriving(request: urllib.request.Request) -> Generator[object, None, None]:
    """Yield the status and the length of an answer (0 if it is not given), then its blocks.

    A thread of its own waits for the server, since no timeout of a socket ends a connection whose
    bytes arrive one at a time.
    """
    arrived: queue.Queue[object] = queue.Queue(maxsize=16)
    ended = threading.Event()

    def put(item: object) -> bool:
        while not ended.is_set():
            try:
                arrived.put(item, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False

    def receive() -> None:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                length = int(response.headers.get("Content-Length") or 0)
                going = put((response.status, length))
                while going and (block := response.read1(BLOCK)):
                    going = put(block)
                put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=receive, daemon=True).start()
    since, bytes_ = time.monotonic(), 0
    try:
        while True:
            try:
                item = arrived.get(timeout=max(0.0, since + PATIENCE - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(
                    f"less than {LEAST:,} bytes arrived within {PATIENCE:g} s"
                ) from None
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            bytes_ += len(item) if isinstance(item, bytes) else 0
            if bytes_ >= LEAST:
                since, bytes_ = time.monotonic(), 0
    finally:
        ended.set()


def _open(part: Path, mode: str) -> BinaryIO:
    try:
        return cast(BinaryIO, part.open(mode))
    except OSError as error:
        raise unwritable(part, error) from None


def unwritable(path: Path, error: OSError) -> CabError:
    """The error for a path that cannot be written."""
    return CabError(f"{path} cannot be written: {error}. Choose another folder with --data-dir.")
