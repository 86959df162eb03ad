"""Multi-query attention: all query heads share one key head and one value head."""

from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="mqa",
    family="softmax",
    patterns="ns cs nc cc",
    extended="nc",
    summary="softmax attention in which all heads share one key head and one value head",
    paper="Fast Transformer Decoding: One Write-Head is All You Need (Shazeer)",
    year=2019,
    arxiv="1911.02150",
    time="N M d",
    memory="N M",
    state="2 M E / H",
    published_defaults="one key and value head, whatever the number of heads",
    added="2026-11-21",
)
class MultiQueryAttention(CachedAttention):
    r"""Share keys and values: :math:`k_s = W_k z_s` and :math:`v_s = W_v z_s` of one head's width.

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot k_s / \sqrt{E}) v_s

    z is the stream (self) or the context (cross); V_t are its unpadded positions, up to t in CS.
    The heads' queries stand one after another as H N queries of a single head, so that keys and
    values are never repeated. With one head it is softmax attention. The paper widens the
    feed-forward part to make up for the parameters saved; here the backbone stays as it is.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.key = nn.Linear(self.dim, self.head_width, bias=False)
        self.value = nn.Linear(self.dim, self.head_width, bias=False)

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B H N E"]:
        """Cut into as many heads as there are: H of queries, one of keys or values."""
        return x.unflatten(-1, (x.shape[-1] // self.head_width, -1)).transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B 1 M E"],
        v: Float[Tensor, "B 1 M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        heads, queries = q.shape[1:3]
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        scores = (q / self.head_width**0.5).flatten(1, 2) @ k[:, 0].mT
        weights = masked_softmax(scores.unflatten(1, (heads, queries)), hidden)
        return torch.unflatten(weights.flatten(1, 2) @ v[:, 0], 1, (heads, queries))
