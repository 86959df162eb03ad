"""Sliding-window attention in blocks as long as the window: no key is gathered per query.

A block of w queries meets the keys of its own block and of its neighbours (3 w, or 2 w when
causal) in one product (the sliding chunks of Beltagy et al., 2020, "Longformer", arXiv
2004.05150). Time N w (K + V), memory N w.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def window_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    *,
    window: int,
    causal: bool,
    key_padding_mask: Bool[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B H N V"]:
    """Return softmax over the keys s with |t - s| < window (and s <= t when causal).

    A query whose window is all padding gets 0.
    """
    length = q.shape[2]
    block = min(window, length)
    neighbours = 2 if causal else 3
    absent = torch.zeros(q.shape[0], length, dtype=torch.bool, device=q.device)
    absent = absent if key_padding_mask is None else key_padding_mask
    missing = -length % block
    blocks = F.pad(q, (0, 0, 0, missing)).unflatten(2, (-1, block))
    keys, values = (_beside(x, block, neighbours, missing) for x in (k, v))
    absent = _beside(absent[:, None, :, None], block, neighbours, missing, fill=True)

    scores = (blocks / q.shape[-1] ** 0.5) @ keys.mT  # (B, H, N / w, w, 3 w)
    row = torch.arange(block, device=q.device)[:, None]
    column = torch.arange(neighbours * block, device=q.device) - block
    far = (row - column).abs() >= window
    if causal:
        far = far | (column > row)
    hidden = far | absent.mT
    weights = scores.masked_fill_(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
    if key_padding_mask is not None:  # else every query sees itself, and hidden keys weigh 0
        weights = weights.masked_fill(hidden, 0.0)
    out = weights @ values
    return out.flatten(2, 3)[:, :, :length]


def _beside(
    x: Tensor, block: int, neighbours: int, missing: int, fill: bool = False
) -> Float[Tensor, "B H n k E"] | Bool[Tensor, "B H n k E"]:
    """Put each block of x (B, H, N, E) beside the one before and, of three, the one after."""
    after = block if neighbours == 3 else 0
    padded = F.pad(x, (0, 0, block, missing + after), value=fill)
    length = x.shape[2] + missing
    shifted = [padded[:, :, i * block : i * block + length] for i in range(neighbours)]
    return torch.cat([part.unflatten(2, (-1, block)) for part in shifted], dim=3)
