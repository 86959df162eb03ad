"""Differential attention, second version: pairs of query heads share keys and values."""

from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="diff-v2",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="difference of two query heads on the same keys and values, by a factor of the token",
    paper="Differential Transformer V2 (Ye, Dong, Sun, Wei)",
    year=2026,
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="twice as many query heads as the Transformer, with its keys and values, "
    "there shared by groups of heads, here one for each pair; rotary positions, here whatever "
    "positions the backbone gives",
    added="2026-11-30",
)
class DifferentialAttentionV2(CachedAttention):
    r"""Subtract from what one query reads what a second one reads from the same keys and values.

    .. math:: o_t = \sum_{s \in V_t} \Big(\mathrm{softmax}_s \frac{q_t^1 \cdot k_s}{\sqrt{E}} -
              \sigma(w_\lambda \cdot x_t) \, \mathrm{softmax}_s \frac{q_t^2 \cdot k_s}{\sqrt{E}}
              \Big) v_s

    V_t are the unpadded keys; in CS those at positions up to t. Unlike the first version
    (`diff`) it has no norm, the factor depends on the token and the head, and the second queries
    are additional parameters. Published as a report with code, without an arXiv number
    (January 2026). The report is on causal self attention.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query = nn.Linear(self.dim, 2 * self.dim, bias=False)
        self.factor = nn.Linear(self.dim, self.heads, bias=False)

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B G N E"]:
        """Cut into as many heads as there are: 2 H of queries, H of keys or values."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "B G N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B G N E"]:
        """Return what each query head reads, or 0. In CS the queries are the last N of M."""
        k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
        causal = self.pattern == Pattern.CS
        return softmax_attention(q, k, v, causal=causal, key_padding_mask=key_padding_mask)

    def answer(
        self, mixed: Float[Tensor, "B G N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Subtract within pairs of heads and project."""
        first, second = mixed.unflatten(1, (self.heads, 2)).unbind(dim=2)
        factor = self.factor(x).sigmoid().mT[..., None]
        return self.output(self.merge_heads(first - factor * second))
