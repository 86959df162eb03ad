"""Attention within consecutive groups of tokens: `block-local`, `shifted`, `sink-shifted`.

Dimensions: B batch, H heads, N length, E head width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.variants.sparse._blocks import cut, join, weigh


def attend_in_groups(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    absent: Bool[Tensor, "B 1 N"],
    *,
    group: int,
    first: int,
    causal: bool,
    sinks: int = 0,
) -> Float[Tensor, "B H N E"]:
    """Softmax of scaled queries over their group of `group` tokens, and over the first `sinks`.

    The first group has `first` tokens, which shifts all others.
    """
    length = q.shape[2]
    if length <= first:
        group = first = length
    ahead = group - first
    padded = [F.pad(x, (0, 0, ahead, 0)) for x in (q, k, v)]
    queries, keys, values = (cut(x, 2, group) for x in padded)
    hidden = cut(F.pad(absent, (ahead, 0), value=True), 2, group, fill=True)[:, :, :, None]
    t = torch.arange(queries.shape[2] * group, device=q.device).unflatten(0, (-1, group, 1))
    if causal:
        hidden = hidden | (t[:1].mT > t[:1])

    early = cut(padded[0] @ k[:, :, :sinks].mT, 2, group)
    s = torch.arange(early.shape[4], device=q.device) + ahead
    # Sinks of the query's own group are among its keys already.
    early_hidden = (s // group == t // group) | absent[:, :, None, None, :sinks]
    if causal:
        early_hidden = early_hidden | (s > t)
    weights, early_weights = weigh((queries @ keys.mT, hidden), (early, early_hidden))
    mixed = join(weights @ values, 2, ahead + length)
    mixed = mixed + join(early_weights, 2, ahead + length) @ v[:, :, :sinks]
    return mixed[:, :, ahead:]


def attend_in_shifted_groups(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    absent: Bool[Tensor, "B 1 N"],
    *,
    group: int,
    shifted: int,
    causal: bool,
    sinks: int = 0,
) -> Float[Tensor, "B H N E"]:
    """As `attend_in_groups`, with groups shifted by half of one in the last `shifted` heads."""
    plain = q.shape[1] - shifted
    parts = []
    for heads, first in ((slice(plain), group), (slice(plain, None), _half(group))):
        parts.append(
            attend_in_groups(
                q[:, heads],
                k[:, heads],
                v[:, heads],
                absent,
                group=group,
                first=first,
                causal=causal,
                sinks=sinks,
            )
        )
    return torch.cat(parts, dim=1)


def group_starts(
    t: Int[Tensor, " B"], group: int, heads: int, shifted: int = 0
) -> Int[Tensor, "B H 1"]:
    """Return where position t's group begins in each head."""
    first = torch.full((heads, 1), group, device=t.device)
    first[heads - shifted :] = _half(group)
    return ((t[:, None, None] - first) // group * group + first).clamp(min=0)


def _half(group: int) -> int:
    return max(1, group // 2)
