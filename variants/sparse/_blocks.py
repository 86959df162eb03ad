"""Shared parts of this family: blocks along an axis, and softmax over some keys.

Dimensions: B batch, H heads, N length, E head width, n blocks, b block, m keys that a block meets.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def cut(
    x: Tensor, axis: int, block: int, before: int = 0, after: int = 0, fill: bool = False
) -> Tensor:
    """Cut an axis (L) into blocks (n, before + block + after) with what stands beside each.

    Places before the first token and after the last hold 0, or True if `fill`.
    """
    axis %= x.ndim
    missing = -x.shape[axis] % block
    widths = [0, 0] * (x.ndim - 1 - axis) + [before, missing + after]
    padded = F.pad(x, widths, value=fill)
    return padded.unfold(axis, before + block + after, block).movedim(-1, axis + 1)


def join(x: Tensor, axis: int, length: int) -> Tensor:
    """Undo `cut` of queries: (n, b) back to the first `length` places of the axis."""
    axis %= x.ndim
    return x.flatten(axis, axis + 1).narrow(axis, 0, length)


def padding_of(
    k: Float[Tensor, "B H M E"], key_padding_mask: Bool[Tensor, "B M"] | None
) -> Bool[Tensor, "B 1 M"]:
    """Return the padding mask with an axis for heads; without a mask nothing is padding."""
    if key_padding_mask is None:
        return torch.zeros(k.shape[0], 1, k.shape[2], dtype=torch.bool, device=k.device)
    return key_padding_mask[:, None]


def weigh(*parts: tuple[Tensor, Tensor]) -> list[Tensor]:
    """One softmax over the last axes of several (scores, hidden), returned in the same parts.

    Hidden keys weigh 0, also where a query sees no key at all.
    """
    # The lowest finite number, not -inf: a row that sees nothing stays finite, and is zeroed.
    scores = [part.masked_fill(hidden, torch.finfo(part.dtype).min) for part, hidden in parts]
    weights = torch.cat(scores, dim=-1).softmax(dim=-1)
    split = weights.split([part.shape[-1] for part in scores], dim=-1)
    return [part.masked_fill(hidden, 0.0) for part, (_, hidden) in zip(split, parts, strict=True)]


def attend_visible(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    """Softmax attention of scaled queries to the keys that are not hidden."""
    (weights,) = weigh((q @ k.mT, hidden))
    return weights @ v


class Band(NamedTuple):
    """A block's queries with the keys nearer than a window to any of them."""

    scores: Float[Tensor, "B H n b m"]
    hidden: Bool[Tensor, "B 1 n b m"]
    values: Float[Tensor, "B H n m E"]


def band(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    absent: Bool[Tensor, "B 1 N"],
    window: int,
    causal: bool,
) -> Band:
    """Scores for |t - s| < window (s <= t if causal), in blocks as long as the window."""
    block = min(window, q.shape[2])
    sides = block - 1, 0 if causal else block - 1
    keys, values = (cut(x, 2, block, *sides) for x in (k, v))
    here = torch.arange(block, device=q.device)[:, None]
    there = torch.arange(keys.shape[3], device=q.device) - sides[0]
    far = (here - there).abs() >= window
    if causal:
        far = far | (there > here)
    beside = cut(absent, 2, block, *sides, fill=True)
    return Band(cut(q, 2, block) @ keys.mT, far | beside[:, :, :, None], values)
