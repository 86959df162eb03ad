"""Softmax over visible keys in plain loops, for scores that a test gives pair by pair."""

from collections.abc import Callable

import torch
from support import BATCH, CONTEXT, context_for, draw, relative_difference, right_padding
from torch import Tensor

from cab.attention import Attention

LENGTH = 9
Score = Callable[[int, int, int, int], Tensor]
"""The score of batch row b, head h, query t and key s."""


def read_by_loops(
    score: Score, v: Tensor, queries: int, *, causal: bool, padding: Tensor | None = None
) -> Tensor:
    """Return what each query reads of v (B, H, M, E): 0 for a query that sees nothing."""
    batch, heads, keys, width = v.shape
    out = v.new_zeros(batch, heads, queries, width)
    for b in range(batch):
        for h in range(heads):
            for t in range(queries):
                seen = [
                    s
                    for s in range(t + 1 if causal else keys)
                    if padding is None or not padding[b, s]
                ]
                if seen:
                    weights = torch.stack([score(b, h, t, s) for s in seen]).softmax(dim=0)
                    out[b, h, t] = weights @ v[b, h, seen]
    return out


def split(x: Tensor, heads: int) -> Tensor:
    """Cut (B, N, H E) into heads (B, H, N, E)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """Undo `split`."""
    return x.transpose(1, 2).flatten(-2)


def differences(
    attention: Attention, expected: Callable[[Tensor, Tensor, Tensor | None], Tensor]
) -> list[float]:
    """How far the module is from `expected(x, source, padding)`, without and with padding.

    Padded positions hold NaN; outputs there do not count.
    """
    x, context = 2 * draw(BATCH, LENGTH, attention.dim), context_for(attention, BATCH)
    keys = LENGTH if context is None else CONTEXT
    found = []
    with torch.no_grad():
        for padding in (None, right_padding([keys, 8, 1, 3], keys)):
            source = x if context is None else context
            clean, dirty = source, source
            if padding is not None:
                clean = source.masked_fill(padding[..., None], 0.0)
                dirty = source.masked_fill(padding[..., None], torch.nan)
            if context is None:
                got = attention(dirty, key_padding_mask=padding)
                wanted = expected(clean, clean, padding)
            else:
                got = attention(x, dirty, key_padding_mask=padding)
                wanted = expected(x, clean, padding)
            if padding is not None and context is None:
                got, wanted = got[~padding], wanted[~padding]
            found.append(relative_difference(got, wanted))
    return found
