"""What is measured: a mechanism at a point of the grid.

A mechanism is a variant, or one implementation of an operator.
"""

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
class MechanismName:
    """A variant with its settings, or an implementation of `operator` if that is set."""

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
    """A point of the grid: pattern, pass, sizes, dtype, device.

    length is the number of queries; keys is the number of keys, or 0 if it is the same. An
    operator with a causal mask and different numbers of queries and keys also needs `alignment`.
    The pass decode computes one token after a prefix of `length` tokens.
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
        """Tokens that one call computes."""
        return self.batch * (1 if self.passage == "decode" else self.length)

    @property
    def title(self) -> str:
        """The point in words."""
        return f"{self.pattern} {self.passage} at {self.length:,} tokens, batch {self.batch}"

    def key(self) -> str:
        """Return a short hash for file names and random generators."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Limits:
    """Limits of a cell: `samples` per mechanism at least, more for about `seconds` if noisy."""

    samples: int = 30
    seconds: float = 1.0
    warm_seconds: float = 0.3
    cell_seconds: float = 600.0
    memory_gib: float = 8.0


@dataclass(frozen=True)
class Cell:
    """One process: a point and the mechanisms that are timed there side by side.

    candidates holds the labels of the mechanisms under test, baselines of those that they are
    compared with; a mechanism may be both.
    """

    point: Point
    mechanisms: tuple[MechanismName, ...]
    candidates: frozenset[str]
    baselines: frozenset[str]
    limits: Limits
    seed: int
    threads: int


def grid_of(length: int) -> tuple[int, int]:
    """Return the (height, width) of the image with `length` tokens that is nearest to a square."""
    height = next(h for h in range(math.isqrt(length), 0, -1) if length % h == 0)
    return height, length // height


def sizes(point: Point, heads: int | None = None) -> dict[str, Any]:
    """Return the sizes of an operator's case at a point."""
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
