"""Previous knowledge channel attention: gates from the channel means of several layers."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens, zero_places
from cab.variants.feature_map._pooling import pooled_mean


@register_variant(
    name="pkcam",
    family="feature_map",
    patterns="ns",
    summary="channels gated by the map's means and, apart, by those of several layers combined",
    paper="PKCAM: Previous Knowledge Channel Attention Module (Bakr, El-Sallab, Rashwan)",
    year=2022,
    arxiv="2211.07521",
    time="layers N d",
    memory="layers N d",
    needs_grid=True,
    published_defaults="the layers are the last blocks of earlier stages; a module here is shown "
    "one map, and derives 2 layers from it by depthwise convolutions",
    added="2026-11-30",
)
class PreviousKnowledgeChannelAttention(Attention):
    r"""Gate channels by this layer and by all layers.

    .. math::
        y &= x \odot (1 + \sigma(b_1 g + b_2 h)), \quad g = \sigma(\mathrm{conv}_k(v_0)) \\
        h &= \sigma\left(\mathrm{conv}'_k\left(\mathrm{relu}
             \left(\textstyle\sum_{s=0}^{S} a_s v_s\right)\right)\right)

    :math:`v_s` (D) are the channels' means over unpadded places. :math:`v_0` are those of x. In
    the paper the others are those of earlier blocks, which the network does not hand on here; they
    are of maps that are made from x,
    :math:`z_s = \mathrm{relu}(\mathrm{DWConv}_{3 \times 3}(z_{s-1}))` with :math:`z_0 = x`. The
    convolutions run over the channels, with the width of `eca`; a and b are numbers. 1 is added to
    the gate as in the authors' code, from which the form is taken.
    """

    @dataclass(frozen=True)
    class Config:
        """layers S derived from the map; gamma and b set the width of the kernel, as in eca."""

        layers: int = 2
        gamma: float = 2.0
        b: float = 1.0

        def __post_init__(self) -> None:
            if self.layers < 1 or self.gamma <= 0:
                raise ValueError("layers must be at least 1 and gamma positive")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, layers = self.dim, self.config.layers
        width = int(abs((math.log2(dim) + self.config.b) / self.config.gamma))
        width += 1 - width % 2
        self.derive = nn.ModuleList(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in range(layers)
        )
        self.combine = nn.Linear(layers + 1, 1, bias=False)
        self.own, self.across = (
            nn.Conv1d(1, 1, width, padding=width // 2, bias=False) for _ in ("own", "across")
        )
        self.fuse = nn.Linear(2, 1, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        means, picture = [pooled_mean(x, key_padding_mask)], to_map(x, self.grid)
        for convolution in self.derive:
            picture = zero_places(convolution(picture).relu(), key_padding_mask)
            means.append(pooled_mean(to_tokens(picture), key_padding_mask))
        combined = self.combine(torch.stack(means, dim=2)).mT.relu()
        gates = (self.own(means[0][:, None]).sigmoid(), self.across(combined).sigmoid())
        return x * (1 + self.fuse(torch.cat(gates, dim=1).mT).mT.sigmoid())
