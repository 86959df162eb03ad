"""High-order attention: each element is gated by products of features up to an order."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens


@register_variant(
    name="high-order",
    family="feature_map",
    patterns="ns",
    summary="each element gated by products of one, two and three features of its neighbourhood",
    paper="Mixed High-Order Attention Network for Person Re-Identification (Chen, Deng, Hu)",
    year=2019,
    arxiv="1908.05819",
    time="N d (kernel^2 + d)",
    memory="N d",
    sees="abs(row_t - row_s) <= kernel // 2 and abs(column_t - column_s) <= kernel // 2",
    needs_grid=True,
    published_defaults="modules of orders 1 to R side by side, D / 4 features, and kernel 1: a "
    "gate reads its own place alone; here order 3 and kernel 3, a depthwise convolution ahead of "
    "the features, since the benchmark takes only modules in which places meet",
    added="2026-11-30",
)
class HighOrderAttention(Attention):
    r"""Gate elements by a polynomial of features.

    .. math:: y = x \odot \frac1R \sum_{r=1}^{R} \sigma\left(W_r\,\mathrm{relu}\left(
              \bigodot_{i=1}^{r} V_{ri}\, u\right)\right), \quad u = \mathrm{DWConv}_k(x)

    R is the order; the matrices V lead to D / 4 features, W back to D channels. The mean of the
    gates and the rectifier are those of the authors' code. In the paper u = x, which `kernel` = 1
    gives: then there is no convolution. The paper's network has one such module for each order,
    whose maps go on side by side and are kept apart by a loss of their own; this is the module of
    order R.
    """

    @dataclass(frozen=True)
    class Config:
        """order R of the products; kernel of the depthwise convolution, none if 1."""

        order: int = 3
        kernel: int = 3

        def __post_init__(self) -> None:
            if self.order < 1 or self.kernel < 1 or self.kernel % 2 == 0:
                raise ValueError("order must be at least 1, kernel odd and at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, kernel = self.dim, self.config.kernel
        features = max(1, dim // 4)
        self.neighbours = (
            nn.Identity()
            if kernel == 1
            else nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        )
        self.features = nn.ModuleList(
            nn.Linear(dim, features * order, bias=False)
            for order in range(1, self.config.order + 1)
        )
        self.gates = nn.ModuleList(
            nn.Linear(features, dim, bias=False) for _ in range(self.config.order)
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        u, total = to_tokens(self.neighbours(to_map(x, self.grid))), torch.zeros_like(x)
        for order, (project, gate) in enumerate(
            zip(self.features, self.gates, strict=True), start=1
        ):
            product = project(u).unflatten(2, (order, -1)).prod(dim=2)
            total = total + gate(product.relu()).sigmoid()
        return x * total / self.config.order
