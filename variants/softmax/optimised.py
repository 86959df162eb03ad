"""Optimised attention: no value projection, since the output projection can replace it."""

from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="optimised",
    family="softmax",
    patterns="ns cs nc cc",
    extended="nc",
    summary="softmax attention whose values are slices of the input, without a projection",
    paper="You Need to Pay Better Attention: Rethinking the Mathematics of Attention Mechanism "
    "(Hosseini, Hosseini)",
    year=2024,
    arxiv="2403.01643",
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="no hyper-parameters",
    added="2026-11-21",
)
class OptimisedAttention(CachedAttention):
    r"""Take the h-th slice of the input, E wide, as the values of head h.

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot k_s^h / \sqrt{E}) z_s^h

    z is the stream (self) or the context (cross); V_t are its unpadded positions, up to t in CS.
    Two linear maps in a row, W_v and then W_o, are one: softmax attention with W_v = 1 is this.
    It has 3/4 of the parameters.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.value = nn.Identity()

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
