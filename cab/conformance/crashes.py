"""The finding for a variant that raised: where, with what sizes, and if wider heads help."""

import dataclasses
import inspect
import sysconfig
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from cab.conformance.deadline import TooLongError, deadline
from cab.conformance.law import Law
from cab.conformance.subject import Subject, name_of
from cab.errors import CabError

WIDER = (4, 16)
"""(heads, head width) of the second trial: even, a power of two, and as `quick` trains."""
WORDS = 300
"""How many characters of an error's own text are kept."""


def explain_crash(error: Exception, subject: Subject, law: Law) -> str:
    """Describe an exception that a variant raised under a law: where, and with what sizes.

    If the heads were narrow, the law is run once more with heads of width 16. Most mechanisms that
    fail with odd or narrow heads work with them and only need to reject the other widths.
    """
    if type(error) is CabError:  # CAB's own sentence on what the variant offers it
        return str(error).rstrip(".")
    sizes = _Sizes.of(error, subject)
    said = f"It raised {_words(error)}{_place(error, subject)}"
    heads, width = WIDER
    if sizes.width is None or sizes.width >= width:
        return f"{said}, with {sizes}" if sizes.known else said
    other = _raised(dataclasses.replace(subject, geometries=(WIDER,)), law)
    wider = f"{heads} heads of width {width}"
    if other is None:
        return (
            f"{said}. It fails with {sizes} and works with {wider}: raise UnsupportedWidth (from "
            f"cab.errors) in __init__ for unsupported head widths"
        )
    if _line(other, subject) == _line(error, subject):
        return f"{said}, with {sizes}, and with {wider}"
    return (
        f"{said}, with {sizes}. With {wider} it gets further and raised "
        f"{_words(other)}{_place(other, subject)}"
    )


def _raised(subject: Subject, law: Law) -> Exception | None:
    try:
        with torch.random.fork_rng(devices=[]), deadline():
            for _ in law.run(subject) if law.asks(subject) else ():
                pass
    except TooLongError:
        return None
    except Exception as error:  # the variant may raise anything
        return error
    return None


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What the variant was built and called with, as far as the traceback tells."""

    heads: int | None = None
    width: int | None = None
    length: int | None = None
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, error: Exception, subject: Subject) -> "_Sizes":
        """Read the sizes off the outermost call of the variant."""
        for frame in _frames(error):
            module = frame.f_locals.get("self")
            if not isinstance(module, subject.attention):
                continue
            given = frame.f_locals.get("geometry")
            built = {**(given if isinstance(given, dict) else {}), **vars(module)}
            heads, dim = built.get("heads"), built.get("dim")
            if not (isinstance(heads, int) and isinstance(dim, int) and heads > 0):
                return cls()
            x = next(_streams(frame.f_locals), None)
            length = None if x is None else x.shape[1] if x.ndim == 3 else 1
            dtype = None if x is None else x.dtype
            return cls(heads, dim // heads, length, dtype)
        try:  # in the backward pass the variant itself is not on the stack
            return cls(*subject.geometry)
        except Exception:  # it cannot be built at all
            return cls()

    @property
    def known(self) -> bool:
        return self.width is not None

    def __str__(self) -> str:
        said = [f"{self.heads} heads of width {self.width}"]
        said += [] if self.length is None else [f"length {self.length}"]
        said += [] if self.dtype is None else [name_of(self.dtype)]
        return ", ".join(said)


def _streams(found: dict[str, Any]) -> Iterator[Tensor]:
    """The streams among a call's arguments: x first, by name or by place."""
    for one in (found.get("x"), *found.get("args", ()), found.get("context")):
        if isinstance(one, Tensor) and one.is_floating_point() and one.ndim in (2, 3):
            yield one


def _frames(error: Exception) -> Iterator[FrameType]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    cut = text if len(text) <= WORDS else text[:WORDS].rsplit(" ", 1)[0] + " ..."
    return f"{type(error).__name__}: {cut.rstrip('.')}" if cut else type(error).__name__


def _line(error: Exception, subject: Subject) -> tuple[str, int | None] | None:
    """The last line of the variant's file that was reached, else of CAB, else of nobody."""
    frames = traceback.extract_tb(error.__traceback__)
    try:
        file = inspect.getsourcefile(subject.attention)
    except TypeError:  # a class without a file, such as one of a session
        file = None
    strange = (sysconfig.get_paths()["stdlib"], "<")
    known = [f for f in frames if not f.filename.startswith(strange)]
    own = [f for f in frames if f.filename == file] or [
        f for f in known if "site-packages" not in f.filename
    ]
    return (own[-1].filename, own[-1].lineno) if own else None


def _place(error: Exception, subject: Subject) -> str:
    line = _line(error, subject)
    return "" if line is None else f" ({line[0]}, line {line[1]})"
