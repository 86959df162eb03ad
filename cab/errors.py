"""The errors that CAB explains to its user; anything else is a defect and keeps its trace."""

import difflib
from collections.abc import Iterable

LISTED = 20
"""How many names an error lists before it points to the list."""


class CabError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class UnknownName(CabError):
    """A name that is not registered; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name = name
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Known: {', '.join(known)}."
        if near:
            hint = f"Did you mean {' or '.join(near)}?"
        elif len(known) > LISTED:
            hint = f"There are {len(known)}; `cab list` names them."
        super().__init__(f"There is no {kind} called {name!r}. {hint}")


class Unsupported(CabError):
    """A combination that a variant does not offer (pattern, grid, mask, device), with the reason.

    Raised instead of any silent fallback; inside a cell it becomes the outcome `unsupported`.
    """


class UnsupportedWidth(Unsupported, ValueError):
    """A head width that a variant does not take, such as an odd one under rotary positions.

    Raised in `__init__`. The laws then take the next of their geometries; in a cell it becomes the
    outcome `unsupported`.
    """


class Interrupted(BaseException):
    """Ctrl-C or a request to end. Not a KeyboardInterrupt, which the command-line library eats."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right form, for a message: "1 cell", "2 cells"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
