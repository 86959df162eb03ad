"""Wide regional non-local attention: softmax attention inside regions that are wider than high."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens

POOL = 2
"""Side of the squares of places that share a key and a value."""


@register_variant(
    name="nonlocal",
    family="feature_map",
    patterns="ns",
    summary="softmax attention inside wide regions, to pooled keys and values, added to the map",
    paper="MCW-Net: Single Image Deraining with Multi-level Connections and Wide Regional "
    "Non-local Blocks (Park, Jeon, Lee, Kang)",
    year=2020,
    arxiv="2009.13990",
    time="N d (d + height width)",
    memory="N (d + height width)",
    sees="row_t // height == row_s // height and column_t // width == column_s // width",
    needs_grid=True,
    published_defaults="16 x 4, 8 x 2 and 4 x 1 regions on three scales, each four times as wide "
    "as high on a square map, and D / 2 inner channels; here regions of 4 x 16 places",
    added="2026-11-30",
)
class WideRegionalNonLocal(Attention):
    r"""Attend inside regions.

    .. math:: y_t = x_t + W \sum_{p \in R_t} \mathrm{softmax}_p(q_t \cdot k_p)\, v_p, \quad
              k_p = \max_{s \in p} W_k x_s, \quad v_p = \max_{s \in p} (W_v x_s + b_v)

    :math:`R_t` are the squares of 2 x 2 places in t's region, and the maxima are taken channel by
    channel over the unpadded places of a square; q = W_q x + b_q. There is one head of D / 2
    channels, scores are not scaled, and W and its bias start at 0, all as in the authors' code.
    Keys have no bias, which the softmax would cancel. Where the sides of the map are no multiples
    of those of regions or squares, the last ones are smaller; the authors leave the rest of a
    square out.
    """

    @dataclass(frozen=True)
    class Config:
        """height and width of a region in places, even."""

        height: int = 4
        width: int = 16

        def __post_init__(self) -> None:
            if min(self.height, self.width) < 1 or self.height % POOL or self.width % POOL:
                raise ValueError("height and width must be even and at least 2")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        inner = max(1, self.dim // 2)
        self.query = nn.Linear(self.dim, inner)
        self.key = nn.Linear(self.dim, inner, bias=False)
        self.value, self.output = nn.Linear(self.dim, inner), nn.Linear(inner, self.dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend inside regions. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        if key_padding_mask is None:
            key_padding_mask = torch.zeros_like(x[:, :, 0], dtype=torch.bool)
        absent = to_map(key_padding_mask[:, :, None].to(x.dtype), self.grid)
        absent = self._filled(absent, 1.0).bool()
        q = self._regions(self._filled(to_map(self.query(x), self.grid), 0.0), 1)
        k, v = (
            self._regions(self._pooled(to_map(part(x), self.grid), absent), POOL)
            for part in (self.key, self.value)
        )
        hidden = self._regions((-F.max_pool2d(-absent.to(x.dtype), POOL)).bool(), POOL)
        scores = q @ k.mT
        lowest = torch.finfo(scores.dtype).min
        mixed = scores.masked_fill(hidden.mT, lowest).softmax(dim=-1) @ v
        return x + self.output(self._joined(mixed))

    def _filled(self, picture: Float[Tensor, "B K R C"], value: float) -> Tensor:
        """Extend a map by places of a value, to multiples of a region (B, K, R', C')."""
        below, beside = (
            -picture.shape[2] % self.config.height,
            -picture.shape[3] % self.config.width,
        )
        return F.pad(picture, (0, beside, 0, below), value=value)

    def _pooled(
        self, picture: Float[Tensor, "B K R C"], absent: Bool[Tensor, "B 1 r c"]
    ) -> Float[Tensor, "B K h w"]:
        """Maximum over the unpadded places of each square; 0 where there is none."""
        lowest = torch.finfo(picture.dtype).min
        largest = F.max_pool2d(self._filled(picture, 0.0).masked_fill(absent, lowest), POOL)
        return largest.masked_fill(largest == lowest, 0.0)

    def _regions(self, picture: Tensor, pool: int) -> Tensor:
        """Cut a map (B, K, r, c), pooled before, into regions (B, regions, places, K)."""
        size = self.config.height // pool, self.config.width // pool
        picture = picture.unflatten(3, (-1, size[1])).unflatten(2, (-1, size[0]))
        return picture.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)

    def _joined(self, regions: Float[Tensor, "B G P K"]) -> Float[Tensor, "B N K"]:
        """Undo `_regions` of an unpooled map, and drop what `_filled` added."""
        assert self.grid is not None
        (rows, columns), size = self.grid, (self.config.height, self.config.width)
        counts = (-(-rows // size[0]), -(-columns // size[1]))
        picture = regions.unflatten(1, counts).unflatten(3, size).permute(0, 5, 1, 3, 2, 4)
        return to_tokens(picture.flatten(4, 5).flatten(2, 3)[:, :, :rows, :columns])
