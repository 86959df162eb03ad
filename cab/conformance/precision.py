"""The note for a variant that computes in float32 what it is given in float64.

The laws compare in float64, where only its rounding is excused. Such a module breaks several of
them by its own rounding alone, so it is judged in float32 instead.
"""

import contextlib
import dataclasses
import inspect
import sysconfig
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cab.conformance.law import Finding
from cab.conformance.subject import Subject, name_of

ROUNDING = 1e-4
"""How far a comparison in float32 may miss where one in float64 allows less, relative."""
STRICT = 1e-6
"""Limits below this are meant for float64; what misses a wider one is no rounding of float32."""
BEGINS = "Part of the computation is in "
"""How the note begins."""


def judge_in_float32(
    subject: Subject,
    findings: list[Finding],
    note: str,
    again: Callable[[Subject], list[Finding]],
) -> list[Finding]:
    """Return what a law finds of a variant in float32, in which part of it computes.

    `again` holds the law against a variant, in all its layers and sizes.

    What misses a limit of float64 by the rounding of float32 is no finding. If something remains,
    the note comes first.
    """
    if note.startswith(f"{BEGINS}float32:"):
        findings = [one for one in findings if not _rounds(one)]
    elif note.startswith(f"{BEGINS}float32"):
        narrow = tuple(dtype for dtype in subject.dtypes if dtype != torch.float64)
        single = dataclasses.replace(subject, dtypes=narrow, widest=torch.float32)
        with contextlib.suppress(Exception):  # if it raises, what was found in float64 stands
            findings = again(single)
        findings = [one for one in findings if not _rounds(one)]
    return [Finding(note), *findings] if findings else []


def explain_cast(subject: Subject) -> str:
    """Say that a module cannot be cast to bfloat16, where it works in float32; else nothing."""
    if "cast_note" not in vars(subject):  # kept with the subject, as cached properties are
        with torch.random.fork_rng(devices=[]):
            vars(subject)["cast_note"] = _cast_note(subject)
    return str(vars(subject)["cast_note"])


def _cast_note(subject: Subject) -> str:
    if torch.bfloat16 not in subject.dtypes or torch.float32 not in subject.dtypes:
        return ""
    for dtype in (torch.float32, torch.bfloat16):
        try:
            shape = subject.typical(70)[0]
            module = subject.build(shape, dtype=dtype)
            x = subject.draw(1, shape.length, subject.dim, seed="stream", dtype=dtype)
            with torch.no_grad():
                module(x, subject.context(1, dtype=dtype))
        except Exception as error:
            if dtype == torch.float32:
                return ""  # it fails anyway, and a law says so
            text = " ".join(str(error).split())[:200]
            return (
                f"It cannot be cast to bfloat16, module.to(torch.bfloat16): a call raises "
                f"{type(error).__name__}: {text}. The other laws leave bfloat16 out"
            )
    return ""


def _rounds(finding: Finding) -> bool:
    moved, limit = finding.moved, finding.limit
    return moved is not None and limit is not None and limit < STRICT and moved <= ROUNDING


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
                    f"{_place(self._subject)}. In float64 laws fail by its rounding alone, so it "
                    f"is judged in float32. Use torch.promote_types(x.dtype, torch.float32) as "
                    f"its dtype"
                )
        table = torch.float32 in _dtypes((args, kwargs), least=1)
        if not self.found and table and torch.float64 in _dtypes(out):
            self.found = (
                f"{BEGINS}float32: a table of numbers, such as rotary angles"
                f"{_place(self._subject)}. Differences of its rounding are excused"
            )
        return out


def _dtypes(values: Any, least: int = 0) -> list[torch.dtype]:
    """The types of tensors, of so many axes at least."""
    tensors = (one for one in tree_leaves(values) if isinstance(one, Tensor))
    return [one.dtype for one in tensors if one.ndim >= least]


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
