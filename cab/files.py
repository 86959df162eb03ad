"""Files that come into their place whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` to write to; at the end it replaces what stands there.

    It is on the disk by then. If the block raises, nothing is left of it.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    beside = path.with_name(f".writing-{uuid4().hex}")
    beside.touch(exist_ok=False)  # readable by whom the user's mask allows, as other files are
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise
