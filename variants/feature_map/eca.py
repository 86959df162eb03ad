"""Efficient channel attention: gates from a small convolution over the channels' means."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._pooling import pooled_mean


@register_variant(
    name="eca",
    family="feature_map",
    patterns="ns",
    summary="channels gated by a convolution over the means of neighbouring channels",
    paper="ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks "
    "(Wang, Wu, Zhu, Li, Zuo, Hu)",
    year=2019,
    arxiv="1910.03151",
    time="N d",
    memory="N d",
    needs_grid=True,
    published_defaults="gamma 2, b 1, which give the kernel's width for a number of channels; "
    "the same here",
    added="2026-11-21",
)
class EfficientChannelAttention(Attention):
    r"""Scale channels: :math:`y = x \odot \sigma(\mathrm{conv}_k(\bar x))`.

    .. math:: k = \left| \frac{\log_2 D + b}{\gamma} \right|_{\mathrm{odd}}

    :math:`\bar x` is the mean over unpadded places; k is the nearest odd number above, and the
    convolution runs over channels, with one filter for all.
    """

    @dataclass(frozen=True)
    class Config:
        """gamma and b set the width of the kernel."""

        gamma: float = 2.0
        b: float = 1.0

        def __post_init__(self) -> None:
            if self.gamma <= 0:
                raise ValueError("gamma must be positive")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = int(abs((math.log2(self.dim) + self.config.b) / self.config.gamma))
        width += 1 - width % 2
        self.convolution = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

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
        return x * self.convolution(mean[:, None]).sigmoid()
