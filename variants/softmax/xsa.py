"""Exclusive self attention: what a head reads, less its part along the token's own value."""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.errors import UnsupportedWidth
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="xsa",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="softmax attention whose output is made orthogonal to the token's own value",
    paper="Exclusive Self Attention (Zhai)",
    year=2026,
    arxiv="2603.09078",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
    sees="N > 1 and (t > 0 or not causal)",
    published_defaults="no settings; rotary positions, here whatever positions the backbone gives",
    added="2026-11-30",
)
class ExclusiveSelfAttention(CachedAttention):
    r"""Remove from each head's answer its projection onto the value of the token that asks.

    .. math:: y_t = o_t - \frac{o_t \cdot v_t}{\lVert v_t \rVert^2} v_t, \quad
              o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    V_t are the unpadded positions; in CS those up to t. What a token says itself is left to the
    residual stream and the feed-forward part. The own value drops out of the sum whatever its
    weight is; left out from the start, it leaves no rounding error, and a token that sees no
    other, such as the first one in CS, reads exactly 0. The paper trains causal language models.
    In the cross patterns a token has no value of its own, so that they are left out.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        if self.head_width == 1:
            raise UnsupportedWidth(
                "xsa needs heads of width 2 or more: nothing is orthogonal to one channel."
            )

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return y, or 0 for a query that sees nothing. The queries are the last N of M."""
        causal, before = self.pattern == Pattern.CS, k.shape[2] - q.shape[2]
        hidden = hidden_pairs(q, k, causal=causal, key_padding_mask=key_padding_mask)
        weights = masked_softmax((q / self.head_width**0.5) @ k.mT, hidden)
        own = torch.ones(weights.shape[-2:], dtype=torch.bool, device=q.device)
        own = own.tril(before).triu(before)
        return _orthogonal(weights.masked_fill(own, 0.0) @ v, v[:, :, before:])


@at_least_float32
def _orthogonal(
    mixed: Float[Tensor, "B H N E"], own: Float[Tensor, "B H N E"]
) -> Float[Tensor, "B H N E"]:
    """Return `mixed` without its part along `own`, or as it is where `own` is 0."""
    direction = F.normalize(own, dim=-1)
    return mixed - (mixed * direction).sum(dim=-1, keepdim=True) * direction
