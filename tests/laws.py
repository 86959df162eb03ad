"""Measurements of what must not move (or must): numbers, which tests compare with a limit.

They know nothing of the variant, so that the planted mutants meet the very same code.
"""

import torch
from support import context_for, draw, right_padding
from torch import Tensor

from cab.attention import Attention

NAN = float("nan")


def future_leak(attention: Attention, length: int) -> float:
    """How far outputs up to t move when x[> t] changes, over every cut t, relative.

    Cut t is row t of one batch: rows never interact (a law of its own).
    """
    cuts = length - 1
    if cuts < 1:
        return 0.0
    x = draw(1, length, attention.dim, seed="stream")
    other = 10 * draw(cuts, length, attention.dim, seed="future")
    past = torch.arange(length) <= torch.arange(cuts)[:, None]
    changed = torch.where(past[:, :, None], x, other)
    context = context_for(attention, 1)
    repeated = None if context is None else context.repeat(cuts, 1, 1)
    with torch.no_grad():
        before, after = attention(x, context), attention(changed, repeated)
    moved = (after - before).abs().amax(dim=2).masked_fill(~past, 0.0)
    return (moved.max() / before.abs().max()).item()


def jacobian(attention: Attention, length: int) -> Tensor:
    """The largest entry of d y_t / d x_s by autograd, for each pair (t, s)."""
    x, context = draw(length, attention.dim, seed="stream"), context_for(attention, 1)
    full = torch.autograd.functional.jacobian(lambda x: attention(x[None], context)[0], x)
    return full.abs().amax(dim=(1, 3))


def future_gradient(attention: Attention, length: int) -> float:
    """The largest entry of the Jacobian's block that causality wants to be zero."""
    return jacobian(attention, length).triu(1).max().item()


def padding_leak(attention: Attention, lengths: list[int], fill: float = NAN) -> float:
    """How far padded rows are from the same rows alone; NaN (infinite here) if pads spread.

    `lengths` are those of the keys, and in the self patterns of the queries too; the rows' pads
    hold `fill`. Rows of length 0 must only be finite, wherever they are read.
    """
    longest = max(lengths)
    padding = right_padding(lengths, longest)
    keys = draw(len(lengths), longest, attention.dim, seed="keys")
    keys = keys.masked_fill(padding[:, :, None], fill)
    if attention.pattern.cross:
        queries = draw(len(lengths), 9, attention.dim, seed="queries")
        out = attention(queries, keys, key_padding_mask=padding)
    else:
        out = attention(keys, key_padding_mask=padding)
    if not out.isfinite().all():
        return float("inf")
    worst = 0.0
    for row, length in enumerate(lengths):
        if not length:
            continue
        alone = keys[row, :length][None]
        if attention.pattern.cross:
            expected, got = attention(queries[row][None], alone)[0], out[row]
        else:
            expected, got = attention(alone)[0], out[row, :length]
        worst = max(worst, (got - expected).abs().max().item())
    return worst


def batch_leak(attention: Attention, length: int) -> float:
    """How far a row moves when its batch-mates change."""
    x, other = (draw(3, length, attention.dim, seed=seed) for seed in ("stream", "mates"))
    context, mates = context_for(attention, 3), context_for(attention, 3)
    other[1] = x[1]
    if context is not None and mates is not None:
        mates = -2 * mates
        mates[1] = context[1]
    return (attention(x, context)[1] - attention(other, mates)[1]).abs().max().item()


def reach(attention: Attention, length: int, seen: slice) -> float:
    """How far the middle output moves when the tokens of x in `seen` change, itself left out."""
    middle = length // 2
    x, other = (draw(1, length, attention.dim, seed=seed) for seed in ("stream", "other"))
    context = context_for(attention, 1)
    changed = x.clone()
    changed[:, seen] = other[:, seen]
    changed[:, middle] = x[:, middle]
    moved = attention(changed, context) - attention(x, context)
    return moved[:, middle].abs().max().item()


def context_reach(attention: Attention, length: int) -> float:
    """The least that any output moves when one token of the context changes."""
    x, context = draw(1, length, attention.dim, seed="stream"), context_for(attention, 1)
    assert context is not None
    before, moves = attention(x, context), []
    for position in range(context.shape[1]):
        changed = context.clone()
        changed[:, position] += draw(attention.dim, seed="other")
        moves.append((attention(x, changed) - before).abs().amax(dim=2).min())
    return torch.stack(moves).min().item()
