"""The note for a variant that computes in float32 what it is given in float64.

The laws compare in float64, where only rounding is excused. Such a module breaks several of them
by its own rounding alone.
"""

import inspect
import sysconfig
import traceback
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cab.conformance.subject import Subject, name_of

BEGINS = "Part of the computation is in "
"""How the note begins."""


def explain_precision(subject: Subject) -> str:
    """Return where the first tensor of lower precision is made from one in float64, or nothing."""
    shape = subject.typical(70)[0]
    try:
        module = subject.build(shape)
        x = subject.draw(1, shape.length, subject.dim, seed="stream")
        with torch.no_grad(), _Watch(subject) as watch:
            module(x, subject.context(1))
    except Exception:  # a law has met this too, and says so
        return ""
    return watch.found


class _Watch(TorchDispatchMode):
    """Notes the first operation with a float64 input and an output of lower precision."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.found, self._subject = "", subject

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.found and torch.float64 in _dtypes((args, kwargs)):
            lower = [d for d in _dtypes(out) if d.is_floating_point and d != torch.float64]
            if lower:
                self.found = (
                    f"{BEGINS}{name_of(lower[0])} although the input is in float64"
                    f"{_place(self._subject)}. Laws that compare in float64 then fail by rounding "
                    f"alone. Use torch.promote_types(x.dtype, torch.float32) as its dtype"
                )
        return out


def _dtypes(values: Any) -> list[torch.dtype]:
    return [one.dtype for one in tree_leaves(values) if isinstance(one, Tensor)]


def _place(subject: Subject) -> str:
    """The last line that runs of the variant's file, else of a module that it wraps."""
    try:
        file = inspect.getsourcefile(subject.attention)
    except TypeError:  # a class without a file, such as one of a session
        file = None
    skipped = (sysconfig.get_paths()["stdlib"], "<", torch.__path__[0], __file__)
    frames = [f for f in traceback.extract_stack() if not f.filename.startswith(skipped)]
    inner = [f for f in frames if f.filename == file or "site-packages" in f.filename]
    return f" ({inner[-1].filename}, line {inner[-1].lineno})" if inner else ""
