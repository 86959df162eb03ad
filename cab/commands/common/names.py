"""The names of variants that a sweep is given: one, several, all, or those of a file."""

from collections.abc import Sequence
from pathlib import Path

from cab.errors import CabError
from cab.records.files import read_text

EVERY = "all"
FILE = "@"
LARGEST_FILE = 1_000_000
"""Bytes of a file of names."""


def are_many(asked: Sequence[str]) -> bool:
    """Whether so many variants are asked for that not all of them need to fit every task."""
    return any(name == EVERY or name.startswith(FILE) for name in _parts(asked))


def given_names(asked: Sequence[str]) -> list[str]:
    """Expand `a,b` and `@FILE`, in their order.

    A file has a name on each line; what follows `#` is a comment.

    Raises:
        CabError: a file cannot be read or holds no name.
    """
    names: list[str] = []
    for part in _parts(asked):
        names += _names_in(Path(part.removeprefix(FILE))) if part.startswith(FILE) else [part]
    return names


def _parts(asked: Sequence[str]) -> list[str]:
    return [name.strip() for text in asked for name in text.split(",") if name.strip()]


def _names_in(path: Path) -> list[str]:
    try:
        text = read_text(path, LARGEST_FILE)
    except FileNotFoundError as error:
        raise CabError(f"The file of names {path} cannot be read: {error}.") from None
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    names = [line for line in lines if line]
    if not names:
        raise CabError(f"The file of names {path} holds no name. Write one variant per line.")
    return names
