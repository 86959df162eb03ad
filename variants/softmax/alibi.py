"""ALiBi: softmax attention with scores that fall linearly with the distance."""

import math
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="alibi",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="softmax attention with a penalty per head that grows linearly with the distance",
    paper="Train Short, Test Long: Attention with Linear Biases Enables Input Length "
    "Extrapolation (Press, Smith, Lewis)",
    year=2021,
    arxiv="2108.12409",
    padding="distance",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
    published_defaults="slopes 2^(-8 h / H), h = 1 ... H, whatever the length of training; the "
    "same here",
    added="2026-11-30",
)
class LinearBiasAttention(CachedAttention):
    r"""Take a slope times the distance from the scores.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s
              \left(\frac{q_t \cdot k_s}{\sqrt{E}} - m_h |t - s|\right) v_s, \quad
              m_h = 2^{-8h/H}, \quad h = 1, \dots, H

    V_t are the unpadded positions; in CS those up to t. Slopes are not learned. If H is not a
    power of two, as in the paper's code the first heads have the slopes of P heads, the largest
    power of two below H, and the others every second slope of 2 P heads. The paper is causal and
    has no other positions; here the biases stand beside whatever positions the backbone gives,
    and in NS they are the same in both directions. Between a stream and a context there is no
    distance, so that the cross patterns are left out.
    """

    exponents: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.register_buffer("exponents", torch.tensor(exponents(self.heads)), persistent=False)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. The queries are the last N of M."""
        queries, keys = q.shape[2], k.shape[2]
        # Distances in float32 at least: bfloat16 knows none beyond 256 exactly.
        precise = torch.promote_types(q.dtype, torch.float32)
        positions = torch.arange(keys, device=q.device, dtype=precise)
        distance = (positions[keys - queries :, None] - positions).abs()
        slopes = self.exponents.to(precise).exp2()[:, None, None]
        scores = (q / self.head_width**0.5) @ k.mT - slopes * distance
        causal = self.pattern == Pattern.CS
        hidden = hidden_pairs(q, k, causal=causal, key_padding_mask=key_padding_mask)
        return masked_softmax(scores, hidden).to(v.dtype) @ v


def exponents(heads: int) -> list[float]:
    """Return the base-2 logarithm of each head's slope, which every float type holds exactly."""
    whole = 2 ** math.floor(math.log2(heads))
    first = [-8 * h / whole for h in range(1, whole + 1)]
    return first + [-4 * h / whole for h in range(1, 2 * (heads - whole), 2)]
