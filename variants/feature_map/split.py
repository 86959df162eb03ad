"""Split attention: a softmax chooses, channel by channel, between convolutions of the map."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.errors import UnsupportedWidth
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens, zero_places
from cab.variants.feature_map._pooling import pooled_mean


@register_variant(
    name="split",
    family="feature_map",
    patterns="ns",
    summary="two convolutions of the map, mixed channel by channel by a softmax of their means",
    paper="ResNeSt: Split-Attention Networks (Zhang, Wu, Zhang, Zhu, Lin, Zhang, Sun, He, "
    "Mueller, Manmatha, Li, Smola)",
    year=2020,
    arxiv="2004.08955",
    time="N d E",
    memory="N d radix",
    needs_grid=True,
    published_defaults="radix 2, reduction 4 with at least 32 hidden channels, 1 cardinal group, "
    "and batch norms; here as many cardinal groups as heads, 1 hidden channel of a group at "
    "least, and no batch norm",
    added="2026-11-30",
)
class SplitAttention(Attention):
    r"""Mix R splits of the map in each of K cardinal groups.

    .. math::
        y &= \sum_{r=1}^{R} a_r \odot u_r, \quad
            u = \mathrm{relu}(\mathrm{conv}_{3 \times 3}(x)), \\
        a &= \mathrm{softmax}_r\left(W_2\,\mathrm{relu}\left(W_1\,
             \overline{\textstyle\sum_r u_r}\right)\right)

    K is the number of heads, R the radix. The convolution has K R groups of channels and makes R
    maps :math:`u_r` of D channels; :math:`W_1` and :math:`W_2` have K groups. The bar is the mean
    over unpadded places. The convolution replaces one of the network's in the paper; here it comes
    on top. The authors' batch norms, in which rows of a batch would meet, are left out.
    """

    @dataclass(frozen=True)
    class Config:
        """radix R, the number of splits; reduction of the hidden layer."""

        radix: int = 2
        reduction: int = 4

        def __post_init__(self) -> None:
            if self.radix < 2 or self.reduction < 1:
                raise ValueError("radix must be at least 2, reduction at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, groups, radix = self.dim, self.heads, self.config.radix
        width = dim // groups
        if width % radix:
            raise UnsupportedWidth(
                f"radix = {radix} does not divide the {width} channels of a cardinal group."
            )
        hidden = groups * max(1, width * radix // self.config.reduction)
        self.convolution = nn.Conv2d(dim, dim * radix, 3, padding=1, groups=groups * radix)
        self.squeeze = nn.Conv1d(dim, hidden, 1, groups=groups)
        self.excite = nn.Conv1d(hidden, dim * radix, 1, groups=groups)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve and mix. See `Attention.forward`."""
        x, radix = zero_padding(x, key_padding_mask), self.config.radix
        maps = zero_places(self.convolution(to_map(x, self.grid)).relu(), key_padding_mask)
        splits = to_tokens(maps).unflatten(2, (radix, self.dim))
        mean = pooled_mean(splits.sum(dim=2), key_padding_mask)
        scores = self.excite(self.squeeze(mean[:, :, None]).relu()).squeeze(2)
        weights = scores.unflatten(1, (self.heads, radix, -1)).softmax(dim=2)
        return (splits * weights.transpose(1, 2).flatten(2)[:, None]).sum(dim=2)
