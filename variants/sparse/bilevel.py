"""BiFormer: regions of an image choose the regions whose tokens they attend to."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import absent_places, from_tiles, to_picture, to_tiles


@register_variant(
    name="bilevel",
    family="sparse",
    patterns="ns",
    summary="softmax over the tokens of the regions with the highest scores for the query's "
    "region",
    paper="BiFormer: Vision Transformer with Bi-Level Routing Attention (Zhu et al.)",
    year=2023,
    arxiv="2303.08810",
    time="N (top_k N / regions^2 + kernel^2) d",
    memory="N (top_k N / regions^2)",
    sees="chosen",
    needs_grid=True,
    published_defaults="7 x 7 regions of up to 56 x 56 tokens, of which 1, 4, 16 or all 49 are "
    "read, and a 5 x 5 convolution; here 4 x 4 regions of 8 x 8 tokens, of which 4 are read",
    added="2026-11-21",
)
class BilevelAttention(MultiHeadAttention):
    r"""Softmax over the k regions with the most similar means, and a local term on the values.

    .. math:: A_{ab} = \operatorname{mean}_{t \in a} q_t \cdot \operatorname{mean}_{s \in b} k_s,
              \quad J_a = \operatorname{top-}k_b \, A_{ab}, \quad
              o_t = \sum_{s \in b \in J_a} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{d}) v_s
              + \operatorname{LCE}(v)_t, \quad t \in a

    A side of L tokens is cut into regions of :math:`\lceil L / S \rceil`, S of them if S divides
    L; else the last one is smaller, or missing where fewer cover the side (6 tokens and S = 4: 3
    regions of 2). Regions are compared over all heads at once, and the choice has no gradient. As
    in the paper, scores are divided by the root of the model's width d, not of a head's. The local
    context enhancement LCE is a depthwise convolution with a bias.
    """

    @dataclass(frozen=True)
    class Config:
        """regions is S, on a side; top_k are read; kernel: width of the convolution, or 0."""

        regions: int = 4
        top_k: int = 4
        kernel: int = 5

        def __post_init__(self) -> None:
            if min(self.regions, self.top_k) < 1:
                raise ValueError("regions and top_k must be at least 1")
            if self.kernel < 0 or (self.kernel and not self.kernel % 2):
                raise ValueError("kernel must be odd, or 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        assert self.grid is not None
        rows, columns = (-(-side // self.config.regions) for side in self.grid)
        self.region = rows, columns
        if self.config.kernel:
            width = self.config.kernel
            self.local = nn.Conv2d(self.dim, self.dim, width, padding=width // 2, groups=self.dim)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose regions are all padding gets the local term alone."""
        assert self.grid is not None
        absent = absent_places(k, key_padding_mask, self.grid)
        gone = to_tiles(absent, self.region, fill=True).flatten(2, 3)[:, 0, ..., 0]  # (B, R, T)
        queries, keys, values = (
            to_tiles(to_picture(x, self.grid), self.region).flatten(2, 3)
            for x in (q / self.dim**0.5, k, v)
        )  # (B, H, R, T, E)
        chosen = self._choose(queries, keys, gone)
        row = torch.arange(len(q), device=q.device)[:, None, None]
        keys, values = (x[row, :, chosen].movedim(3, 1).flatten(3, 4) for x in (keys, values))
        hidden = gone[row, chosen].flatten(2)[:, None, :, None]
        mixed = attend_visible(queries, keys, values, hidden)
        across = -(-self.grid[1] // self.region[1])
        out = from_tiles(mixed.unflatten(2, (-1, across)), self.region, self.grid).flatten(2, 3)
        return out + self._enhance(v) if self.config.kernel else out

    @torch.no_grad()
    def _choose(
        self,
        q: Float[Tensor, "B H R T E"],
        k: Float[Tensor, "B H R T E"],
        gone: Bool[Tensor, "B R T"],
    ) -> Int[Tensor, "B R k"]:
        """The regions that each region reads."""
        tokens = (~gone).sum(dim=-1)
        means = [
            x.sum(dim=3).transpose(1, 2).flatten(2) / tokens.clamp(min=1)[..., None]
            for x in (q, k)
        ]
        affinity = (means[0] @ means[1].mT).masked_fill((tokens == 0)[:, None], -torch.inf)
        return affinity.topk(min(self.config.top_k, affinity.shape[-1]), dim=-1).indices

    def _enhance(self, v: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
        picture = self.merge_heads(v).mT.unflatten(2, self.grid)
        return self.split_heads(self.local(picture).flatten(2).mT)
