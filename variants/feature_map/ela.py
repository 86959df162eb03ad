"""Efficient local attention: a gate of rows times one of columns, from convolved strip means."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens


@register_variant(
    name="ela",
    family="feature_map",
    patterns="ns",
    summary="rows and columns gated by a convolution and a group norm along their strip means",
    paper="ELA: Efficient Local Attention for Deep Convolutional Neural Networks (Xu, Wan)",
    year=2024,
    arxiv="2403.01123",
    time="N d + 2 sqrt(N) d kernel",
    memory="N d",
    needs_grid=True,
    published_defaults="ELA-B: kernel 7, depthwise, 16 groups of the norm, for maps of 256 "
    "channels and more; here as many groups as heads",
    added="2026-11-30",
)
class EfficientLocalAttention(Attention):
    r"""Gate rows and columns, with the channels apart.

    .. math:: y_{cij} = x_{cij}\, g(\bar x^{R})_{ci}\, g(\bar x^{C})_{cj}, \quad
              g(z) = \sigma(\mathrm{GN}(\mathrm{conv}_k(z)))

    :math:`\bar x^R` (D, R) are the means of the rows, :math:`\bar x^C` (D, C) those of the
    columns. The convolution is depthwise, without a bias; it and the group norm serve rows and
    columns. Padding is zeroed and counts in means and norms as places of value 0.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel of the convolution along rows and columns."""

        kernel: int = 7

        def __post_init__(self) -> None:
            if self.kernel < 1 or self.kernel % 2 == 0:
                raise ValueError("kernel must be odd and at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, kernel = self.dim, self.config.kernel
        self.convolution = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.norm = nn.GroupNorm(self.heads, dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        picture = to_map(zero_padding(x, key_padding_mask), self.grid)
        rows, columns = self._gate(picture.mean(dim=3)), self._gate(picture.mean(dim=2))
        return to_tokens(picture * rows[:, :, :, None] * columns[:, :, None])

    def _gate(self, strip: Float[Tensor, "B D L"]) -> Float[Tensor, "B D L"]:
        return self.norm(self.convolution(strip)).sigmoid()
