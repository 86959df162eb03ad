"""Large-kernel attention: features multiplied by a large, factorised convolution."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import (
    Attention,
    Geometry,
    read_decoding_context,
    read_source,
    zero_padding,
)
from cab.registry import register_variant
from cab.variants.convolutional._convolution import Convolution


@register_variant(
    name="large-kernel",
    family="convolutional",
    patterns="ns cs",
    extended="cs",
    summary="features multiplied by a large depthwise convolution, made of a short and a dilated "
    "one",
    paper="Visual Attention Network (Guo, Lu, Liu, Cheng, Hu)",
    year=2022,
    arxiv="2202.09741",
    padding="distance",
    time="N d (d + dilation^2 + (kernel / dilation)^2)",
    memory="N d",
    state="d (dilation - 1 + dilation (ceil(kernel / dilation) // 2)) / H",
    sees="abs(t - s) <= dilation - 1 + dilation (ceil(kernel / dilation) // 2)",
    published_defaults="kernel 21 at dilation 3 (5 x 5, then 7 x 7 dilated) on images of 56 x 56 "
    "places; here 6 at dilation 2 (3 x 3, then 3 x 3 dilated) on pictures of 8 x 8 to 16 x 16, "
    "and 21 at dilation 3 along sequences",
    added="2026-11-21",
)
class LargeKernelAttention(Attention):
    r"""Multiply features by their convolution with a large kernel.

    .. math:: u = \mathrm{GELU}(W_1 x), \quad
              a = W_a \, \mathrm{DWConv}_{\lceil K/\delta \rceil}^{\delta}(
              \mathrm{DWConv}_{2\delta-1}(u)), \quad y = W_2 (a \odot u) + x

    K is the kernel, delta the dilation of the second convolution. On a picture the kernels are
    squares, and the cost grows with their area; else they lie along the sequence. In CS, beyond
    the paper, only their past half is used. The inner shortcut (+ x) is the paper's. Padding is
    zeroed before each convolution.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel K and dilation delta along a sequence; those with picture_ on a picture."""

        kernel: int = 21
        dilation: int = 3
        picture_kernel: int = 6
        picture_dilation: int = 2

        def __post_init__(self) -> None:
            if min(self.dilation, self.kernel, self.picture_kernel, self.picture_dilation) < 1:
                raise ValueError("kernels and dilations must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        kernel, dilation = self.config.kernel, self.config.dilation
        if self.grid is not None and not self.pattern.causal:
            kernel, dilation = self.config.picture_kernel, self.config.picture_dilation
        self.input = nn.Linear(self.dim, self.dim)
        self.short = Convolution(self, self.dim, dilation - 1)
        self.far = Convolution(self, self.dim, ceil(kernel / dilation) // 2, dilation=dilation)
        self.attention = nn.Linear(self.dim, self.dim)
        self.output = nn.Linear(self.dim, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve twice, multiply. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        u = F.gelu(self.input(x))
        near = self.short(zero_padding(u, key_padding_mask))
        return self._write(x, u, self.far(zero_padding(near, key_padding_mask)))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> tuple[Float[Tensor, "B R D"], Float[Tensor, "B Q D"]]:
        """Return what both convolutions see before the first token."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return self.short.nothing_recent(batch), self.far.nothing_recent(batch)

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Float[Tensor, "B R D"], Float[Tensor, "B Q D"]]
    ) -> tuple[Float[Tensor, "B D"], tuple[Float[Tensor, "B R D"], Float[Tensor, "B Q D"]]]:
        """Convolve one token after those before it. See `Attention.step`."""
        u = F.gelu(self.input(x))
        near, recent = self.short.step(u, state[0])
        far, earlier = self.far.step(near, state[1])
        return self._write(x, u, far), (recent, earlier)

    def _write(
        self, x: Float[Tensor, "*B D"], u: Float[Tensor, "*B D"], far: Float[Tensor, "*B D"]
    ) -> Float[Tensor, "*B D"]:
        return self.output(self.attention(far) * u) + x
