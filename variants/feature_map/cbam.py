"""CBAM: gates for channels, then for positions."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._pooling import pooled_maximum, pooled_mean


@register_variant(
    name="cbam",
    family="feature_map",
    patterns="ns",
    summary="channels gated by the feature map's mean and maximum, then positions gated by a "
    "convolution",
    paper="CBAM: Convolutional Block Attention Module (Woo, Park, Lee, Kweon)",
    year=2018,
    arxiv="1807.06521",
    time="N (d + kernel^2)",
    memory="N d",
    needs_grid=True,
    published_defaults="reduction 16, kernel 7, and a batch norm behind it; here reduction 4, for "
    "maps of 16 channels, and a bias in place of the batch norm",
    added="2026-11-21",
)
class ConvolutionalBlockAttention(Attention):
    r"""Gate channels, then positions.

    .. math::
        x' &= x \odot \sigma(f(\bar x) + f(\hat x)), \quad
            f(c) = W_2\,\mathrm{relu}(W_1 c) \\
        y &= x' \odot \sigma(\mathrm{conv}_{k \times k}[\mathrm{mean}_D x'; \mathrm{max}_D x'])

    :math:`\bar x` and :math:`\hat x` are mean and maximum over the map's unpadded places. The
    convolution has a bias where the authors' has a batch norm behind it, in which rows of a batch
    would meet.
    """

    @dataclass(frozen=True)
    class Config:
        """reduction of the channels' hidden layer; kernel of the convolution over places."""

        reduction: int = 4
        kernel: int = 7

        def __post_init__(self) -> None:
            if self.reduction < 1 or self.kernel < 1 or self.kernel % 2 == 0:
                raise ValueError("reduction must be at least 1, kernel odd and at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        hidden, kernel = max(1, self.dim // self.config.reduction), self.config.kernel
        self.squeeze, self.excite = nn.Linear(self.dim, hidden), nn.Linear(hidden, self.dim)
        self.places = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        mean, maximum = (pool(x, key_padding_mask) for pool in (pooled_mean, pooled_maximum))
        x = x * torch.sigmoid(self._channels(mean) + self._channels(maximum))[:, None]
        assert self.grid is not None
        described = torch.stack((x.mean(dim=2), x.amax(dim=2)), dim=1).unflatten(2, self.grid)
        return x * self.places(described).flatten(2).mT.sigmoid()

    def _channels(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return self.excite(torch.relu(self.squeeze(pooled)))
