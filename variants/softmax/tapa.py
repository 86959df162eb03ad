"""Token-aware phase attention: scores oscillate with distance, at token-dependent rates."""

import math
from dataclasses import dataclass
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
    name="tapa",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="softmax attention with scores multiplied by a cosine of the distance, whose phase "
    "depends on content",
    paper="Positional Encoding via Token-Aware Phase Attention (Wang et al.)",
    year=2025,
    arxiv="2509.12635",
    padding="distance",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
    published_defaults="half of the width for the amplitude, distances to the power 0.1, as "
    "here; a learning rate 5 times lower than that of rotary positions, here the common one",
    added="2026-11-21",
)
class TokenAwarePhaseAttention(CachedAttention):
    r"""Split queries and keys into amplitude and phase, :math:`q = (q^A, q^P)`.

    .. math:: x_{ts} = \frac{q_t^A \cdot k_s^A}{\sqrt{E_A}}
              \cos\left(2 \pi |t - s|^\alpha \frac{q_t^P \cdot k_s^P}{\sqrt{E_P}}\right), \quad
              o_t = \sum_{s \in V_t} \mathrm{softmax}_s(x_{ts}) v_s

    V_t are the unpadded positions; in CS those up to t. :math:`E_A` and :math:`E_P` make up the
    head width. The paper puts this in place of rotary positions; here it stands beside whatever
    positions the backbone gives. Between a stream and a context there is no distance, so that the
    cross patterns are left out.
    """

    @dataclass(frozen=True)
    class Config:
        """amplitude: its part of the head width. power: of the distance in the phase."""

        amplitude: float = 0.5
        power: float = 0.1

        def __post_init__(self) -> None:
            if not 0 < self.amplitude < 1:
                raise ValueError("amplitude must lie between 0 and 1")
            if not self.power > 0:
                raise ValueError("power must be above 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        if self.head_width < 2:
            raise ValueError("tapa needs heads of width 2 or more, to part them.")
        amplitude = round(self.config.amplitude * self.head_width)
        amplitude = min(max(amplitude, 1), self.head_width - 1)
        self.parts = (amplitude, self.head_width - amplitude)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        amplitude, phase = (
            (a / a.shape[-1] ** 0.5) @ b.mT
            for a, b in zip(q.split(self.parts, dim=-1), k.split(self.parts, dim=-1), strict=True)
        )
        queries, keys = q.shape[2], k.shape[2]
        # Angles in float32 at least: bfloat16 knows no distance beyond 256 exactly.
        precise = torch.promote_types(q.dtype, torch.float32)
        positions = torch.arange(keys, device=q.device, dtype=precise)
        distance = (positions[keys - queries :, None] - positions).abs()
        angle = 2 * math.pi * distance**self.config.power * phase
        scores = amplitude * angle.cos().to(amplitude.dtype)
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        return masked_softmax(scores, hidden) @ v
