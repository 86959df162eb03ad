"""Files that come into their place whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` to write to; at the end it replaces what stands there.

    It is on the disk by then. If the block raises, nothing is left of it.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    os.close(descriptor)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise
