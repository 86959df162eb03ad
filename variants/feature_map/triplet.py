"""Triplet attention: gates over places, over channels and rows, and over channels and columns."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens


@register_variant(
    name="triplet",
    family="feature_map",
    patterns="ns",
    summary="the mean of three gates, each a convolution over two of rows, columns and channels",
    paper="Rotate to Attend: Convolutional Triplet Attention Module (Misra, Nalamada, "
    "Arasanipalai, Hou)",
    year=2020,
    arxiv="2010.03045",
    time="N (d + kernel^2) + 2 sqrt(N) d kernel^2",
    memory="N d",
    sees="abs(row_t - row_s) <= kernel // 2 or abs(column_t - column_s) <= kernel // 2",
    needs_grid=True,
    published_defaults="kernel 7, and a batch norm behind each convolution; here a bias in place "
    "of the batch norm",
    added="2026-11-30",
)
class TripletAttention(Attention):
    r"""Gate the map three times, and average.

    .. math:: y = \tfrac13 \sum_{a \in \{D, R, C\}} x \odot \sigma\left(
              \mathrm{conv}^a_{k \times k}[\max_a x; \mathrm{mean}_a x]\right)

    The maximum and the mean are taken along one axis, of channels D, rows R or columns C; the
    convolution runs over the other two, and its gate is the same all along the axis. A
    convolution has a bias where the authors' has a batch norm behind it, in which rows of a batch
    would meet. Padding is zeroed and counts as places of value 0.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel of the three convolutions."""

        kernel: int = 7

        def __post_init__(self) -> None:
            if self.kernel < 1 or self.kernel % 2 == 0:
                raise ValueError("kernel must be odd and at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        kernel = self.config.kernel
        self.gates = nn.ModuleList(
            nn.Conv2d(2, 1, kernel, padding=kernel // 2) for _ in ("channels", "rows", "columns")
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        picture = to_map(zero_padding(x, key_padding_mask), self.grid)
        total = torch.zeros_like(picture)
        for axis, gate in enumerate(self.gates, start=1):
            described = torch.stack((picture.amax(dim=axis), picture.mean(dim=axis)), dim=1)
            total = total + gate(described).squeeze(1).sigmoid().unsqueeze(axis)
        return to_tokens(picture * total / len(self.gates))
