"""Causality and padding of modules whose parameters a test has drawn itself.

The laws build a variant as it starts; where kernels start as the identity, what they would carry
from the future or out of padding shows with drawn ones alone.
"""

import torch
from support import draw, relative_difference, right_padding


def future_moves(attention, length):
    """How far outputs before any cut move when all of x from the cut on changes."""
    x, other = draw(1, length, attention.dim), draw(1, length, attention.dim, seed="other")
    whole, worst = attention(x), 0.0
    for cut in range(1, length):
        changed = torch.cat((x[:, :cut], 10 * other[:, cut:]), dim=1)
        worst = max(worst, relative_difference(attention(changed)[:, :cut], whole[:, :cut]))
    return worst


def padding_moves(attention, lengths):
    """How far rows padded with NaN, in one batch, are from the same rows alone."""
    longest, worst = max(lengths), 0.0
    x, padding = draw(len(lengths), longest, attention.dim), right_padding(lengths, longest)
    out = attention(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    assert out.isfinite().all()
    for row, length in enumerate(lengths):
        if length:
            alone = attention(x[row : row + 1, :length])[0]
            worst = max(worst, relative_difference(out[row, :length], alone))
    return worst
