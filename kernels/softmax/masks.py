"""Who sees whom: the mask of a case, as a tensor and counted without one."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cab.kernels.operator import Case


def visible(case: Case, rows: Int[Tensor, " R"]) -> Bool[Tensor, "R M"]:
    """Return True where the queries `rows` see a key."""
    position = rows[:, None] + case.offset
    key = torch.arange(case.keys, device=rows.device)
    seen = torch.ones(len(rows), case.keys, dtype=torch.bool, device=rows.device)
    if case.causal:
        seen = seen & (key <= position)
    if case.window:
        seen = seen & ((key - position).abs() < case.window)
    return seen


def visible_pairs(case: Case) -> int:
    """How many (query, key) pairs of one head see each other: the ones of the mask.

    Query i at position p = i + offset sees the keys from max(0, p - w + 1) to min(M - 1, p), to
    p + w - 1 where it may look ahead; halving N M instead is wrong for every rectangle.
    """
    position = torch.arange(case.queries, dtype=torch.long) + case.offset
    last = torch.full_like(position, case.keys - 1)
    first = torch.zeros_like(position)
    if case.window:
        first = (position - case.window + 1).clamp(min=0)
        last = torch.minimum(last, position + case.window - 1)
    if case.causal:
        last = torch.minimum(last, position)
    return int((last - first + 1).clamp(min=0).sum())
