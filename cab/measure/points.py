"""What is measured: a subject (a variant, or a provider of an operator) at a point of the grid."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cab.taxonomy import Pattern

Pass = Literal["fwd_no_grad", "fwd", "bwd", "fwd_bwd", "prefill", "decode"]
PASSES: tuple[Pass, ...] = get_args(Pass)
Alignment = Literal["top_left", "bottom_right"]
Dtype = Literal["float64", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class SubjectName:
    """A variant with its settings, or an operator's provider (`operator` is then set)."""

    name: str
    operator: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    include: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """`window`, `window (window=128)` or `softmax:sdpa`."""
        if self.operator:
            return f"{self.operator}:{self.name}"
        settings = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.name} ({settings})" if settings else self.name


@dataclass(frozen=True)
class Point:
    """A place in the grid: pattern, pass, sizes, dtype, device.

    length is the number of queries, and of keys unless `keys` says otherwise (cross patterns, or
    a causal rectangle of an operator, whose alignment then matters). decode answers one token
    after `length` of them.
    """

    pattern: Pattern
    passage: Pass
    length: int
    batch: int
    heads: int
    head_width: int
    dtype: Dtype = "float32"
    device: str = "cpu"
    keys: int = 0
    key_heads: int = 0
    value_width: int = 0
    window: int = 0
    alignment: Alignment = "bottom_right"

    @property
    def tokens(self) -> int:
        """Tokens that one call answers."""
        return self.batch * (1 if self.passage == "decode" else self.length)

    @property
    def title(self) -> str:
        """The point in words."""
        return f"{self.pattern} {self.passage} at {self.length:,} tokens, batch {self.batch}"

    def key(self) -> str:
        """A short name for files and generators."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Limits:
    """How long to sample: at least `samples` of each subject, more while there is time."""

    samples: int = 30
    seconds: float = 1.0
    warm_seconds: float = 0.3
    cell_seconds: float = 600.0
    memory_gib: float = 8.0


@dataclass(frozen=True)
class Cell:
    """One process: a point and the subjects that are timed there side by side.

    candidates are the labels of what is under test, baselines of what it is compared with; a
    subject may be both.
    """

    point: Point
    subjects: tuple[SubjectName, ...]
    candidates: frozenset[str]
    baselines: frozenset[str]
    limits: Limits
    seed: int
    threads: int


def grid_of(length: int) -> tuple[int, int]:
    """The picture (height, width) of `length` tokens that is nearest to a square."""
    height = next(h for h in range(math.isqrt(length), 0, -1) if length % h == 0)
    return height, length // height


def sizes(point: Point, heads: int | None = None) -> dict[str, Any]:
    """The sizes of an operator's case at a point."""
    import torch

    heads = heads or point.heads
    keys = point.keys or point.length
    queries = 1 if point.passage == "decode" else point.length
    return {
        "batch": point.batch,
        "heads": heads,
        "key_heads": point.key_heads or heads,
        "queries": queries,
        "keys": keys,
        "width": point.head_width,
        "value_width": point.value_width or point.head_width,
        "causal": point.pattern == Pattern.CS,
        "alignment": point.alignment,
        "window": point.window,
        "grid": grid_of(queries),
        "dtype": getattr(torch, point.dtype),
        "device": point.device,
    }
