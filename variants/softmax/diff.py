"""Differential attention: one softmax map less a second one, which depth makes stronger."""

import math
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.errors import UnsupportedWidth
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="diff",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="difference of two softmax maps per head, by a factor that starts by depth",
    paper="Differential Transformer (Ye, Dong, Xia, Sun, Zhu, Huang, Wei)",
    year=2024,
    arxiv="2410.05258",
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="half as many heads as the Transformer, with values twice as wide as each "
    "map's queries and keys; here as many heads, so that the maps have half of a head's width; "
    "rotary positions, here whatever positions the backbone gives",
    added="2026-11-30",
)
class DifferentialAttention(CachedAttention):
    r"""Give each head two maps, of half of its width each, and subtract one from the other.

    .. math:: o_t = (1 - \lambda_0) \, \mathrm{RMSNorm}\Big(\sum_{s \in V_t} \Big(
              \mathrm{softmax}_s \frac{q_t^1 \cdot k_s^1}{\sqrt{E / 2}} - \lambda \,
              \mathrm{softmax}_s \frac{q_t^2 \cdot k_s^2}{\sqrt{E / 2}}\Big) v_s\Big)

    .. math:: \lambda = \exp(a_1 \cdot b_1) - \exp(a_2 \cdot b_2) + \lambda_0, \quad
              \lambda_0 = 0.8 - 0.6 \exp(-0.3 \, \ell)

    with vectors a and b learned for each layer, :math:`\ell` counted from 0. V_t are the unpadded
    keys; in CS those at positions up to t. Noise that both maps share cancels. RMSNorm acts on
    each head, with weights that the heads of a layer share. The paper is causal self attention.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        if self.head_width % 2:
            raise UnsupportedWidth(
                f"diff splits each head into two maps; a head of width {self.head_width} is odd."
            )
        self.factor = 0.8 - 0.6 * math.exp(-0.3 * self.layer)
        self.a, self.b = (
            nn.Parameter(0.1 * torch.randn(2, self.head_width // 2)) for _ in range(2)
        )
        self.norm = nn.RMSNorm(self.head_width, eps=1e-5)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        causal = self.pattern == Pattern.CS
        hidden = hidden_pairs(q, k, causal=causal, key_padding_mask=key_padding_mask)
        q, k = (x.unflatten(-1, (2, -1)).transpose(2, 3).flatten(1, 2) for x in (q, k))
        weights = masked_softmax((q / q.shape[-1] ** 0.5) @ k.mT, hidden)
        first, second = weights.unflatten(1, (self.heads, 2)).unbind(dim=2)
        terms = (self.a * self.b).sum(dim=-1).exp()
        mixed = (first - (terms[0] - terms[1] + self.factor) * second) @ v
        return (1 - self.factor) * self.norm(mixed)
