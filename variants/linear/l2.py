"""L2ViT's enhanced linear attention: a rectified kernel, then two convolutions of its output."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, zero_padding
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant


@register_variant(
    name="l2",
    family="linear",
    patterns="ns",
    summary="linear attention of rectified queries and keys, concentrated by two convolutions",
    paper="The Linear Attention Resurrection in Vision Transformer (Zheng)",
    year=2025,
    arxiv="2501.16182",
    padding="distance",
    time="N d (d + kernel^2)",
    memory="N d",
    needs_grid=True,
    published_defaults="denominators of at least 100, as here; convolutions of 7 x 7 on 56 x 56 "
    "to 7 x 7 tokens with batch normalisation between them; here 5 x 5 on 8 x 8 tokens with layer "
    "normalisation; every second layer has windows instead, here none",
    added="2026-11-30",
)
class EnhancedLinearAttention(MultiHeadAttention):
    r"""Attend globally by a kernel, then let two depthwise convolutions restore the locality.

    .. math:: a_t = \lambda \frac{\sum_s (\phi(q_t) \cdot \phi(k_s)) v_s}
              {\max(c, \sum_s \phi(q_t) \cdot \phi(k_s))}, \quad \phi = \mathrm{ReLU}, \qquad
              u = W_o a

    .. math:: y = u + w_2 * \mathrm{LN}(\mathrm{GELU}(w_1 * \mathrm{LN}(x + u)))

    lambda is learned per head and starts at :math:`1/\sqrt{E}`, and c bounds the denominator,
    which the paper finds to steady training. The second term is the local concentration module,
    w_1 and w_2 its depthwise convolutions with biases. Batch normalisation would let examples read
    each other, so that layer normalisation stands in its place. In the paper x is the stream, of
    which a layer sees the normalised one here. Work is linear in the number of tokens.
    """

    @dataclass(frozen=True)
    class Config:
        """floor: c, the least denominator. kernel: width of the convolutions, odd."""

        floor: float = 100.0
        kernel: int = 5

        def __post_init__(self) -> None:
            if self.floor <= 0:
                raise ValueError("floor must be positive")
            if self.kernel < 1 or not self.kernel % 2:
                raise ValueError("kernel must be odd")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        start = torch.full((self.heads, 1, 1), self.head_width**-0.5)
        self.temperature = nn.Parameter(start)
        width = self.config.kernel
        self.first, self.second = (
            nn.Conv2d(self.dim, self.dim, width, padding=width // 2, groups=self.dim)
            for _ in range(2)
        )
        self.norm, self.between = nn.LayerNorm(self.dim), nn.LayerNorm(self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend, then concentrate. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        u = super().forward(x, context, key_padding_mask=key_padding_mask)
        near = zero_padding(self.norm(x + u), key_padding_mask)
        near = self.between(F.gelu(self._convolve(self.first, near)))
        near = self._convolve(self.second, zero_padding(near, key_padding_mask))
        return u + near

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return a; padded tokens are zeros and add nothing to either sum."""
        return self.temperature * at_least_float32(self._attend)(F.relu(q), F.relu(k), v)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
    ) -> Float[Tensor, "B H N E"]:
        total = q @ k.sum(dim=2, keepdim=True).mT
        return (q @ (k.mT @ v)) / total.clamp(min=self.config.floor)

    def _convolve(
        self, convolution: nn.Module, x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        return convolution(x.mT.unflatten(2, self.grid)).flatten(2).mT
