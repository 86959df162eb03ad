"""Squeeze-and-excitation: each channel is scaled by a function of the means of all channels."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._pooling import pooled_mean


@register_variant(
    name="se",
    family="feature_map",
    patterns="ns",
    summary="channels gated by two linear layers on the feature map's mean",
    paper="Squeeze-and-Excitation Networks (Hu, Shen, Albanie, Sun, Wu)",
    year=2017,
    arxiv="1709.01507",
    time="N d",
    memory="N d",
    needs_grid=True,
    published_defaults="reduction 16; here 4, since quick maps have 16 channels",
    added="2026-11-21",
)
class SqueezeExcitation(Attention):
    r"""Scale channels: :math:`y = x \odot \sigma(W_2\,\mathrm{relu}(W_1 \bar x))`.

    :math:`\bar x` is the mean over the map's unpadded places.
    """

    @dataclass(frozen=True)
    class Config:
        """reduction: by how much the hidden layer is narrower than the map."""

        reduction: int = 4

        def __post_init__(self) -> None:
            if self.reduction < 1:
                raise ValueError("reduction must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        hidden = max(1, self.dim // self.config.reduction)
        self.squeeze, self.excite = nn.Linear(self.dim, hidden), nn.Linear(hidden, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        mean = pooled_mean(x, key_padding_mask)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))[:, None]
