"""Residual attention: a mask of every element, from a branch at half the resolution."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens


@register_variant(
    name="residual",
    family="feature_map",
    patterns="ns",
    summary="each element times 1 and a mask from a branch that is pooled and interpolated",
    paper="Residual Attention Network for Image Classification (Wang, Jiang, Qian, Yang, Li, "
    "Zhang, Wang, Tang)",
    year=2017,
    arxiv="1704.06904",
    time="N d^2",
    memory="N d",
    sees="chosen",
    needs_grid=True,
    published_defaults="3, 2 and 1 poolings on maps of 56, 28 and 14 places a side, 2 residual "
    "units of batch norms and bottlenecks at the lowest, as many around; here, for maps of 14, 1 "
    "pooling with 2 units and no batch norm",
    added="2026-11-30",
)
class ResidualAttention(Attention):
    r"""Add to the map its product with a soft mask.

    .. math:: y = (1 + m) \odot x, \quad m = \sigma\left(W_2\,\mathrm{relu}(W_1\,\mathrm{relu}(
              \mathrm{up}(F(\mathrm{maxpool}(x)))))\right)

    .. math:: F(z) = z + B_2\,\mathrm{relu}\left(\mathrm{conv}_{3 \times 3}\left(\mathrm{relu}
              \left(B_1\,\mathrm{relu}(z)\right)\right)\right)

    The pooling takes 3 x 3 places at a stride of 2, F is a residual unit with D / 4 inner
    channels, applied `units` times with parameters of its own, up interpolates bilinearly. The
    paper's trunk branch, residual units beside the mask branch, is the block of the network that
    the module follows. The batch norms, in which rows of a batch would meet, are left out. Padding
    is zeroed before the pooling. An output depends on the places around it that the pooling chose.
    """

    @dataclass(frozen=True)
    class Config:
        """units: residual units at half the resolution."""

        units: int = 2

        def __post_init__(self) -> None:
            if self.units < 1:
                raise ValueError("units must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim = self.dim
        self.units = nn.ModuleList(_Unit(dim) for _ in range(self.config.units))
        self.first, self.second = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        picture = to_map(zero_padding(x, key_padding_mask), self.grid)
        low = F.max_pool2d(picture, 3, stride=2, padding=1)
        for unit in self.units:
            low = unit(low)
        wide = F.interpolate(low, self.grid, mode="bilinear", align_corners=False)
        mask = self.second(self.first(wide.relu()).relu()).sigmoid()
        return to_tokens(picture * (1 + mask))


class _Unit(nn.Module):
    """A residual unit that activates before each of its three convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = max(1, dim // 4)
        self.first = nn.Conv2d(dim, inner, 1)
        self.second = nn.Conv2d(inner, inner, 3, padding=1)
        self.third = nn.Conv2d(inner, dim, 1)

    def forward(self, x: Float[Tensor, "B D r c"]) -> Float[Tensor, "B D r c"]:
        """Return x and what the convolutions add to it."""
        return x + self.third(self.second(self.first(x.relu()).relu()).relu())
