"""Guided context gating: places are gated by the map and by the map with its context added."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import over_places


@register_variant(
    name="context-gate",
    family="feature_map",
    patterns="ns",
    summary="places gated by the map and by its sum with a context of attended places",
    paper="Guided Context Gating: Learning to leverage salient lesions in retinal fundus images "
    "(Cherukuri, Shaik, Ye)",
    year=2024,
    arxiv="2406.13126",
    time="N d^2",
    memory="N d",
    needs_grid=True,
    published_defaults="reduction 8, on maps of 1,280 channels; here 4, for maps of 16",
    added="2026-11-30",
)
class GuidedContextGating(Attention):
    r"""Gate places by local features guided by the map's context.

    .. math::
        y_t &= \alpha_t x_t, \quad \alpha_t = \sigma\left(\psi \cdot \mathrm{LN}\left(\mathrm{relu}
               (\mathrm{relu}(U_x x_t + b_x) + \mathrm{relu}(U_g g_t + b_g) + b)\right)\right), \\
        g_t &= x_t + W_2\,\mathrm{relu}\left(W_1 \textstyle\sum_s p_s x_s\right), \quad
               p = \mathrm{softmax}_s(w \cdot x_s)

    The sum over places is the context, the two layers its channel correlation, and alpha the
    guided gate, with the rectifiers and the layer norm of a public implementation with the same
    three parts. The outermost rectifier has an effect where b is negative.
    """

    @dataclass(frozen=True)
    class Config:
        """reduction of the context's hidden layer."""

        reduction: int = 4

        def __post_init__(self) -> None:
            if self.reduction < 1:
                raise ValueError("reduction must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, hidden = self.dim, max(1, self.dim // self.config.reduction)
        self.score = nn.Linear(dim, 1, bias=False)
        self.squeeze = nn.Linear(dim, hidden, bias=False)
        self.excite = nn.Linear(hidden, dim, bias=False)
        self.local, self.guide = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.offset = nn.Parameter(torch.zeros(dim))
        self.norm, self.gate = nn.LayerNorm(dim), nn.Linear(dim, 1)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        attended = over_places(self.score(x), key_padding_mask).mT @ x
        guided = x + self.excite(self.squeeze(attended).relu())
        features = (self.local(x).relu() + self.guide(guided).relu() + self.offset).relu()
        return x * self.gate(self.norm(features)).sigmoid()
