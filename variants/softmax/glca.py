"""Global-local cross attention: the most attended tokens attend a second time."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="glca",
    family="softmax",
    patterns="ns",
    summary="self attention in half of the heads; the tokens that it attends to most also use the "
    "other half",
    paper="Dual Cross-Attention Learning for Fine-Grained Visual Categorization and Object "
    "Re-Identification (Zhu et al.)",
    year=2022,
    arxiv="2205.02151",
    time="N^2 d",
    memory="N^2 H",
    sees="chosen",
    published_defaults="the 10 % (fine-grained classes) or 30 % (re-identification) of the tokens "
    "with the highest responses; here 30 %",
    added="2026-11-30",
)
class GlobalLocalCrossAttention(MultiHeadAttention):
    r"""Let the R tokens of highest response query all keys in heads of their own.

    .. math:: S = \mathrm{softmax}(Q K^\top / \sqrt{E}), \quad
              r_s = \sum_t \left(\tfrac12 S + \tfrac12 I\right)_{ts}, \quad
              f = \mathrm{softmax}(Q^l K^{g\top} / \sqrt{E}) V^g

    S is the self attention of the first half of the heads, rounded up, and r the response of token
    s. Q^l are the queries, in the other heads, of the R = share N tokens (rounded up, padding left
    out) with the largest r; K^g and V^g are of all tokens. The other tokens get 0 from these
    heads. Work grows with N^2.

    In the paper r is the row of the class token in the product of :math:`\frac12 S + \frac12 I`
    over all layers so far, S averaged over the heads. A layer sees no other layer, and networks
    here pool the mean instead of a class token, so that r is the mean row of this layer alone.
    The paper's block has weights of its own and feeds a second classifier, beside a network of
    self attention; here both share the heads of one layer. One head is softmax attention. The
    choice has no gradient. The paper's other part, which attends to another picture in training,
    needs pairs of pictures and is left out.
    """

    @dataclass(frozen=True)
    class Config:
        """share: R as a part of the tokens."""

        share: float = 0.3

        def __post_init__(self) -> None:
            if not 0 < self.share <= 1:
                raise ValueError("share must be above 0 and at most 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.global_heads = ceil(self.heads / 2)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return the heads of self attention, and those of the chosen tokens."""
        hidden = hidden_pairs(q, k, causal=False, key_padding_mask=key_padding_mask)
        weights = masked_softmax((q / self.head_width**0.5) @ k.mT, hidden)
        present = ~hidden[:, 0, 0].expand(q.shape[0], -1)
        chosen = self._choose(weights[:, : self.global_heads].detach(), present)
        weights = torch.cat(
            (
                weights[:, : self.global_heads],
                weights[:, self.global_heads :].masked_fill(~chosen[:, None, :, None], 0.0),
            ),
            dim=1,
        )
        return weights @ v

    def _choose(
        self, weights: Float[Tensor, "B G N N"], present: Bool[Tensor, "B N"]
    ) -> Bool[Tensor, "B N"]:
        """Return the tokens of largest response; padded queries do not respond."""
        response = (weights.mean(dim=1) * present[:, :, None]).sum(dim=1)
        order = response.masked_fill(~present, -1.0).argsort(dim=1, descending=True, stable=True)
        # Exact shares, such as 0.3 of 10, must not round up by an error of the product.
        count = (present.sum(dim=1, keepdim=True) * self.config.share - 1e-6).ceil()
        return (order.argsort(dim=1) < count) & present
