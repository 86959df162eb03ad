"""Channel-spatial attention: each element is gated by its neighbours in places and channels."""

from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens


@register_variant(
    name="channel-spatial",
    family="feature_map",
    patterns="ns",
    summary="each element gated by a 3 x 3 x 3 convolution over channels, rows and columns",
    paper="Single Image Super-Resolution via a Holistic Attention Network (Niu, Wen, Ren, Zhang, "
    "Yang, Wang, Zhang, Cao, Shen)",
    year=2020,
    arxiv="2008.08767",
    time="N d",
    memory="N d",
    sees="abs(row_t - row_s) <= 1 and abs(column_t - column_s) <= 1",
    needs_grid=True,
    published_defaults="a kernel of 3 x 3 x 3, and beta 0 at the start, as here",
    added="2026-11-30",
)
class ChannelSpatialAttention(Attention):
    r"""Gate elements.

    .. math:: y = x + \beta\, x \odot \sigma(\mathrm{conv}_{3 \times 3 \times 3}(x))

    The convolution has one filter, which moves along channels, rows and columns. :math:`\beta` is
    learned and starts at 0, where the output is x. Padding is zeroed before the convolution.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.convolution = nn.Conv3d(1, 1, 3, padding=1)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        picture = to_map(zero_padding(x, key_padding_mask), self.grid)
        gates = self.convolution(picture[:, None]).squeeze(1).sigmoid()
        return to_tokens(picture + self.share * picture * gates)
