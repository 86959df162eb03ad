"""Slots of an image: soft clusters attend to one another, beside a convolution of the grid."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, weigh


@register_variant(
    name="slots",
    family="sparse",
    patterns="ns",
    summary="softmax between soft clusters of image tokens, plus a convolution of the values",
    paper="Revisiting the Integration of Convolution and Attention for Vision Backbone (Zhu, "
    "Wang, Zhang, Liu)",
    year=2024,
    arxiv="2411.14429",
    padding="position",
    time="N d^2 + N (cells^2 + kernel^2) d + cells^2 d^2 + cells^4 d",
    memory="N (cells^2 + d) + cells^4",
    needs_grid=True,
    published_defaults="8 x 8 slots of up to 56 x 56 tokens, a 5 x 5 convolution, a projection of "
    "its own before the convolution and one after it; here 4 x 4 slots of 8 x 8 tokens, the same "
    "convolution, and both projections are those of the attention",
    added="2026-11-30",
)
class SlotAttention(MultiHeadAttention):
    r"""Group tokens softly into slots z, let slots attend, and give the result back.

    .. math:: L_{ct} = \lambda\, \hat p_c \cdot \hat x_t, \quad
              z_c = \sum_t \mathrm{softmax}_t(L_{ct})\, x_t, \quad
              u_c = \sum_b \mathrm{softmax}_b(W_q z_c \cdot W_k z_b / \sqrt{E})\, W_v z_b

    .. math:: y_t = W_o \Big(\sum_c \mathrm{softmax}_c(L_{ct})\, u_c + (w * W_v x)_t\Big)

    :math:`p_c` is the mean of x over cell c of the picture (C x C cells of unpadded tokens), a hat
    divides by the length, lambda is learned and starts at :math:`1/\sqrt{d}`, and w is a depthwise
    convolution with a bias. The paper takes p from the stream before its norm, which a layer does
    not see here. Work is linear in the number of tokens.
    """

    @dataclass(frozen=True)
    class Config:
        """cells: C, on a side, so that there are C x C slots. kernel: width of w, odd."""

        cells: int = 4
        kernel: int = 5

        def __post_init__(self) -> None:
            if self.cells < 1:
                raise ValueError("cells must be at least 1")
            if self.kernel < 1 or not self.kernel % 2:
                raise ValueError("kernel must be odd")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = self.config.kernel
        self.scale = nn.Parameter(torch.tensor(self.dim**-0.5))
        self.local = nn.Conv2d(self.dim, self.dim, width, padding=width // 2, groups=self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Group, attend, give back, convolve. See `Attention.forward`."""
        assert self.grid is not None
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        present = torch.ones_like(x[:, :, 0])
        if key_padding_mask is not None:
            present = (~key_padding_mask).to(x.dtype)
        first, empty = self._means(x, present)
        logits = self.scale * (_unit(first) @ _unit(x).mT)  # (B, C, N)
        (group,) = weigh((logits, (present == 0)[:, None]))
        (share,) = weigh((logits.mT, empty[:, None]))
        slots = group @ x
        q, k, v = (self.split_heads(read(slots)) for read in (self.query, self.key, self.value))
        mixed = attend_visible(q / math.sqrt(self.head_width), k, v, empty[:, None, None])
        picture = self.value(x).mT.unflatten(2, self.grid)
        near = self.local(picture).flatten(2).mT
        return self.output(share @ self.merge_heads(mixed) + near)

    def _means(
        self, x: Float[Tensor, "B N D"], present: Float[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B C D"], Bool[Tensor, "B C"]]:
        """Return the mean token of each cell, and which cells hold none."""
        assert self.grid is not None
        size = tuple(min(self.config.cells, side) for side in self.grid)
        sums = F.adaptive_avg_pool2d(x.mT.unflatten(2, self.grid), size)
        share = F.adaptive_avg_pool2d(present[:, None].unflatten(2, self.grid), size)
        means = sums / share.masked_fill(share == 0, 1.0)
        return means.flatten(2).mT, share.flatten(1) == 0


def _unit(x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    return F.normalize(x, dim=-1, eps=1e-6)
