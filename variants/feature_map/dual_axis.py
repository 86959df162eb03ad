"""Dual attention of TransDAE: along channels by efficient attention, then along places."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.errors import UnsupportedWidth
from cab.registry import register_variant
from cab.variants.feature_map._maps import over_places, to_map, to_tokens


@register_variant(
    name="dual-axis",
    family="feature_map",
    patterns="ns",
    summary="efficient attention over channels, then softmax attention to means of squares",
    paper="TransDAE: Dual Attention Mechanism in a Hierarchical Transformer for Efficient "
    "Medical Image Segmentation (Azad, Adibfar, Fu)",
    year=2024,
    arxiv="2409.02018",
    time="N d (d + N / reduction^2)",
    memory="N (d + H N / reduction^2)",
    needs_grid=True,
    published_defaults="a transformer block with norms and a feed-forward part behind each "
    "attention, on tokens of 64 to 512 channels; here both attentions with their shortcuts, on D "
    "/ 2 inner channels, so that both have no more parameters than softmax, at reduction 2",
    added="2026-11-30",
)
class DualAxisAttention(Attention):
    r"""Attend along channels, then along places.

    .. math::
        u &= x + W_1\left(\rho_c(Q x)\, \left(\rho_t(K x)^\top V x\right)\right), \\
        y &= u + W_2\,\mathrm{softmax}_p\left(\frac{Q' u\,(K' \bar u)^\top}{\sqrt{e}}\right)
             V' \bar u

    :math:`\rho_c` is a softmax over channels, :math:`\rho_t` one over unpadded places: the first
    line is efficient attention (Shen et al., 2018, arXiv 1812.01243), of one head. :math:`\bar u`
    are the means of u over squares of r x r places, padding left out; e is the head width, half of
    D / H. The inner shortcuts are the block's. The order, channels before places, is that of the
    code of DAE-Former (arXiv 2212.13504), on which TransDAE builds.
    """

    @dataclass(frozen=True)
    class Config:
        """reduction r: the side of the squares that share a key and a value."""

        reduction: int = 2

        def __post_init__(self) -> None:
            if self.reduction < 1:
                raise ValueError("reduction must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        if self.dim // self.heads % 2:
            raise UnsupportedWidth(
                f"Heads have half of their width here, and {self.dim // self.heads} is odd."
            )
        dim, inner = self.dim, self.dim // 2
        self.channel_query, self.channel_value = nn.Linear(dim, inner), nn.Linear(dim, inner)
        self.channel_key = nn.Linear(dim, inner, bias=False)
        self.channel_output = nn.Linear(inner, dim)
        self.place_query, self.place_value = nn.Linear(dim, inner), nn.Linear(dim, inner)
        self.place_key = nn.Linear(dim, inner, bias=False)
        self.place_output = nn.Linear(inner, dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend along both axes. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        key = over_places(self.channel_key(x), key_padding_mask)
        query = self.channel_query(x).softmax(dim=2)
        u = x + self.channel_output(query @ (key.mT @ self.channel_value(x)))
        u = zero_padding(u, key_padding_mask)
        means, absent = self._reduced(u, key_padding_mask)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.place_query(u), self.place_key(means), self.place_value(means))
        )
        scores = q @ k.mT / q.shape[3] ** 0.5
        scores = scores.masked_fill(absent[:, None, None], torch.finfo(scores.dtype).min)
        return u + self.place_output((scores.softmax(dim=3) @ v).transpose(1, 2).flatten(2))

    def _reduced(
        self, u: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"]]:
        """Return the means of squares, and which squares have no unpadded place."""
        present = torch.ones_like(u[:, :, :1])
        present = to_map(zero_padding(present, key_padding_mask), self.grid)
        side = self.config.reduction
        total, count = (
            F.avg_pool2d(part, side, ceil_mode=True, divisor_override=1)
            for part in (to_map(u, self.grid), present)
        )
        return to_tokens(total / count.clamp(min=1)), count.flatten(1) == 0
