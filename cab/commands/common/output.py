"""How commands speak: results on stdout, everything else on stderr, JSON alone when asked for."""

import codecs
import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cab.errors import CabError
from cab.records.text import tidy

PLAIN = {"±": "+/-", "\u00d7": "x", "\u2013": "-", "\u2212": "-", "\u2026": "..."}
"""What is printed for some characters where the encoding of stdout lacks them."""


class SafeConsole(Console):
    """Prints texts, whatever they come from, without control characters and otherwise unchanged.

    So ":smile:" in a name stays as it is, where rich would print a picture.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; texts are made safe first."""
        texts = (tidy(one) if isinstance(one, str) else one for one in objects)
        # Nobody can be told that stderr takes nothing, and no work is to end for it.
        with contextlib.suppress(OSError) if self.stderr else _written():
            super().print(*texts, **options)


out = SafeConsole(soft_wrap=False)
err = SafeConsole(stderr=True, soft_wrap=True)


def prepare() -> None:
    """Let stdout take every character, in whatever encoding it is."""
    codecs.register_error("cab.plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors != "surrogateescape":
        sys.stdout.reconfigure(errors="cab.plain")


def flush() -> None:
    """Write what stdout still holds.

    Raises:
        CabError: it cannot be written, for example because the disk is full.
    """
    try:
        with _written():
            sys.stdout.flush()
    except (CabError, BrokenPipeError):
        # What is left is dropped, or Python would complain about it once more at its end.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # whoever reads has seen enough
        raise
    except OSError as error:
        raise CabError(f"The output cannot be written: {error}.") from None


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(one, "?") for one in text), error.end


def say(text: str) -> None:
    """Write a line about what is happening, to stderr."""
    err.print(escape(text))


def fail(text: str) -> None:
    """Write an error to stderr."""
    err.print(f"[bold red]Error:[/] {escape(text)}")


def warn(text: str) -> None:
    """Write a warning to stderr."""
    err.print(f"[yellow]Note:[/] {escape(text)}")


def write_text(text: str) -> None:
    """Write a text to stdout as it is, but for characters that are not safe to print."""
    with _written():
        out.file.write(tidy(text))


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    with _written():
        json.dump(plain(value), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """Turn dataclasses, paths and the like into what JSON holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to stdout. Piped into a file it is as wide as it needs to be."""
    table = Table(
        title=escape(tidy(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in columns:
        table.add_column(escape(tidy(column)), overflow="fold")
    for row in rows:
        table.add_row(*(escape(tidy(cell)) for cell in row))
    if out.is_terminal:
        out.print(table)
    else:
        SafeConsole(width=400).print(table)
