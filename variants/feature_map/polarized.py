"""Polarized self-attention: a gate of all channels and a gate of all places, each at full size."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import over_places
from cab.variants.feature_map._pooling import pooled_mean


@register_variant(
    name="polarized",
    family="feature_map",
    patterns="ns",
    summary="channels gated by a summary of attended places, places by a summary of channels",
    paper="Polarized Self-Attention: Towards High-quality Pixel-wise Regression (Liu, Liu, Fan, "
    "Huang)",
    year=2021,
    arxiv="2107.00782",
    time="N d^2",
    memory="N d",
    needs_grid=True,
    published_defaults="both gates side by side or one after the other (sequential), with D / 2 "
    "inner channels; here side by side",
    added="2026-11-30",
)
class PolarizedSelfAttention(Attention):
    r"""Gate channels and places.

    .. math::
        a(x) &= \sigma\left(\mathrm{LN}(W_z \textstyle\sum_t p_t W_v x_t)\right), \quad
                p = \mathrm{softmax}_t(w_q \cdot x_t) \\
        s(x)_t &= \sigma\left(\mathrm{softmax}_c(\overline{U_q x}) \cdot U_v x_t\right)

    The gates a (D numbers) and s (N numbers) stand side by side,
    :math:`y = a(x) \odot x + s(x) \odot x`, or one after the other, :math:`y = s(u) \odot u` with
    :math:`u = a(x) \odot x`. The matrices U and :math:`W_v` lead to D / 2 channels, the bar is the
    mean over unpadded places. This is the paper's equation; in the authors' code the softmax of s
    runs over places, after or before the product.
    """

    @dataclass(frozen=True)
    class Config:
        """sequential: whether places are gated after channels instead of beside them."""

        sequential: bool = False

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, half = self.dim, max(1, self.dim // 2)
        self.place_query = nn.Linear(dim, 1, bias=False)
        self.channel_value = nn.Linear(dim, half, bias=False)
        self.channel_gate = nn.Linear(half, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.channel_query = nn.Linear(dim, half, bias=False)
        self.place_value = nn.Linear(dim, half, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        gated = x * self._channels(x, key_padding_mask)
        if self.config.sequential:
            return gated * self._places(gated, key_padding_mask)
        return gated + x * self._places(x, key_padding_mask)

    def _channels(
        self, x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B 1 D"]:
        weights = over_places(self.place_query(x), key_padding_mask)
        return self.norm(self.channel_gate(weights.mT @ self.channel_value(x))).sigmoid()

    def _places(
        self, x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B N 1"]:
        weights = self.channel_query(pooled_mean(x, key_padding_mask)).softmax(dim=1)
        return (self.place_value(x) @ weights[:, :, None]).sigmoid()
