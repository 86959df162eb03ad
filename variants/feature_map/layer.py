"""Layer attention: maps of several layers, mixed by their correlations."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens, zero_places


@register_variant(
    name="layer",
    family="feature_map",
    patterns="ns",
    summary="maps of several layers, mixed by a softmax over their correlations, then joined",
    paper="Single Image Super-Resolution via a Holistic Attention Network (Niu, Wen, Ren, Zhang, "
    "Yang, Wang, Zhang, Cao, Shen)",
    year=2020,
    arxiv="2008.08767",
    time="layers N d (d + layers)",
    memory="layers N d",
    needs_grid=True,
    published_defaults="10 layers, the residual groups of the network, and a 3 x 3 convolution "
    "that joins them; a module here is shown one map, derives 2 layers from it by depthwise "
    "convolutions and joins them by a linear layer",
    added="2026-11-30",
)
class LayerAttention(Attention):
    r"""Mix layers by their correlations.

    .. math::
        y &= x + W [u_0; \dots; u_S], \quad
            u_i = z_i + \beta \textstyle\sum_j w_{ij} z_j, \\
        w_{ij} &= \mathrm{softmax}_j\left(\frac{1}{N D} \sum_{t,c} z_{itc} z_{jtc}\right)

    In the paper :math:`z_1, \dots, z_S` are maps of residual groups, which the network does not
    hand on here; they are made from x,
    :math:`z_s = \mathrm{relu}(\mathrm{DWConv}_{3 \times 3}(z_{s-1}))` with :math:`z_0 = x`. The
    paper sums where the mean over the elements of unpadded places stands here: a softmax of sums
    has one weight of 1, and no gradient. :math:`\beta` starts at 0.
    """

    @dataclass(frozen=True)
    class Config:
        """layers S derived from the map."""

        layers: int = 2

        def __post_init__(self) -> None:
            if self.layers < 1:
                raise ValueError("layers must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, layers = self.dim, self.config.layers
        self.derive = nn.ModuleList(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in range(layers)
        )
        self.share = nn.Parameter(torch.zeros(1))
        self.join = nn.Linear((layers + 1) * dim, dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the layers. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        maps = [to_map(x, self.grid)]
        for convolution in self.derive:
            maps.append(zero_places(convolution(maps[-1]).relu(), key_padding_mask))
        layers = torch.stack([to_tokens(one) for one in maps], dim=1)
        flat = layers.flatten(2)
        scale: Tensor | float = (x.shape[1] * self.dim) ** -0.5
        if key_padding_mask is not None:
            places = (~key_padding_mask).sum(dim=1).clamp(min=1)[:, None, None]
            wide = torch.promote_types(x.dtype, torch.float32)
            scale = (places.to(wide) * self.dim).rsqrt().to(x.dtype)
        scaled = flat * scale  # before the product, which is large in half precision
        weights = (scaled @ scaled.mT).softmax(dim=2)
        mixed = (flat + self.share * (weights @ flat)).view_as(layers)
        return x + self.join(mixed.transpose(1, 2).flatten(2))
