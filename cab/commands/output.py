"""How commands speak: results on stdout, everything else on stderr, JSON alone when asked for."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cab.records.text import tidy


class SafeConsole(Console):
    """Prints texts, whatever they come from, without control characters and otherwise unchanged.

    So ":smile:" in a name stays as it is, where rich would print a picture.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; texts are made safe first."""
        super().print(*(tidy(one) if isinstance(one, str) else one for one in objects), **options)


out = SafeConsole(soft_wrap=False)
err = SafeConsole(stderr=True, soft_wrap=True)


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
    out.file.write(tidy(text))


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
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
