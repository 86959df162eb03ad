"""Useful work of a call: operations, exponentials and bytes, and what a backward pass adds.

Useful work is what the mask and the formula need, not what an implementation executes. Compare
counts of the same function only; across families compare seconds and tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cab.attention import Attention
from cab.measure.operators import Work as OperatorWork
from cab.measure.points import Pass, Point
from cab.taxonomy import Pattern

MULTIPLIERS: Mapping[Pass, float] = {
    "fwd_no_grad": 1.0,
    "fwd": 1.0,
    "bwd": 2.0,
    "fwd_bwd": 3.0,
    "prefill": 1.0,
    "decode": 1.0,
}
"""Each product of the forward pass needs two in the backward pass; recomputation is not
counted."""


@dataclass(frozen=True)
class Work:
    """The work of a forward call, from a formula or counted during a run (`by`)."""

    flops: int
    exponentials: int
    bytes: int
    by: Literal["formula", "count"]


def operator_work(work: OperatorWork) -> Work:
    """Convert the work that an operator states for a case."""
    return Work(work.flops, work.exponentials, work.bytes, "formula")


def attention_pairs(pattern: Pattern, queries: int, keys: int) -> int:
    """Return the number of visible pairs: N (N + 1) / 2 in CS, otherwise N M."""
    return queries * (queries + 1) // 2 if pattern == Pattern.CS else queries * keys


def variant_work(module: Attention, point: Point, inputs: Mapping[str, Tensor]) -> Work:
    """Count a variant's layer with its projections.

    An exact variant needs 2 N D^2 operations for each of the projections of queries and output,
    2 M D^2 for each of those of keys and values, and 4 E per visible pair and head. The operations
    of any other variant are counted while it runs, without fused attention.
    """
    keys = point.keys if point.pattern.cross and point.keys else point.length
    moved = sum(x.numel() for x in inputs.values()) + inputs["x"].numel()
    moved += sum(one.numel() for one in module.parameters())
    size = inputs["x"].element_size()
    if module.card.exact:
        pairs = point.batch * point.heads * attention_pairs(point.pattern, point.length, keys)
        tokens = point.batch * (2 * point.length + 2 * keys)
        flops = 2 * tokens * module.dim**2 + 4 * pairs * point.head_width
        return Work(flops, pairs, moved * size, "formula")
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        module(inputs["x"], inputs.get("context"))
    return Work(int(counter.get_total_flops()), 0, moved * size, "count")


def of_pass(work: Work, passage: Pass) -> dict[str, Any]:
    """Scale a forward call's work to a pass.

    A backward pass reads what the forward pass read and wrote, and writes the same amount.
    """
    times = MULTIPLIERS[passage]
    return {
        "flops": round(work.flops * times),
        "flops_by": work.by,
        "multiplier": times,
        "exponentials": 0 if passage == "bwd" else work.exponentials,
        "bytes": round(work.bytes * {"bwd": 2.0, "fwd_bwd": 3.0}.get(passage, 1.0)),
    }
