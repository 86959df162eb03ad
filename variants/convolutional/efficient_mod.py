"""Efficient modulation: a token's features times the context of its neighbourhood."""

from dataclasses import dataclass
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
    name="efficient-mod",
    family="convolutional",
    patterns="ns cs",
    extended="cs",
    summary="projected features multiplied by a projected depthwise convolution",
    paper="Efficient Modulation for Vision Networks (Ma, Dai, Yang, Xiao, Chen, Fu, Yuan)",
    year=2024,
    arxiv="2403.19963",
    padding="distance",
    time="N d (d expansion + reach^2)",
    memory="N d expansion",
    state="reach d / H",
    sees="abs(t - s) <= reach",
    published_defaults="kernel 7 x 7 (reach 3), expansion 1 (4 d^2 parameters), as here; the "
    "paper alternates with blocks of expansion 4 or 6 that replace the feed-forward part",
    added="2026-11-21",
)
class EfficientModulation(Attention):
    r"""Multiply features by context, which one small convolution computes.

    .. math:: y = W_2 \Big(W_1 x \odot
              \mathrm{repeat}_r\big(W_g \mathrm{GELU}(\mathrm{DWConv}(W_f x))\big)\Big)

    r is the expansion; where it is above 1, a GELU follows W_1. On a picture the kernel is a
    square of 2 reach + 1, else it lies along the sequence; in CS, beyond the paper, it looks back.
    """

    @dataclass(frozen=True)
    class Config:
        """reach of the kernel to each side; expansion r of the features."""

        reach: int = 3
        expansion: int = 1

        def __post_init__(self) -> None:
            if min(self.reach, self.expansion) < 1:
                raise ValueError("reach and expansion must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.features = nn.Linear(self.dim, self.config.expansion * self.dim)
        self.content = nn.Linear(self.dim, self.dim)
        self.convolution = Convolution(self, self.dim, self.config.reach)
        self.modulator = nn.Linear(self.dim, self.dim)
        self.output = nn.Linear(self.config.expansion * self.dim, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve, modulate. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        content = zero_padding(self.content(x), key_padding_mask)
        return self._modulate(x, self.convolution(content))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B R D"]:
        """Return what the convolution sees before the first token."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return self.convolution.nothing_recent(batch)

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B R D"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B R D"]]:
        """Convolve one token after those before it. See `Attention.step`."""
        convolved, state = self.convolution.step(self.content(x), state)
        return self._modulate(x, convolved), state

    def _modulate(
        self, x: Float[Tensor, "*B D"], convolved: Float[Tensor, "*B D"]
    ) -> Float[Tensor, "*B D"]:
        expansion, features = self.config.expansion, self.features(x)
        if expansion > 1:
            features = F.gelu(features)
        modulator = self.modulator(F.gelu(convolved))
        modulator = modulator.repeat(*(1,) * (modulator.dim() - 1), expansion)
        return self.output(features * modulator)
