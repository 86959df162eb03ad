"""Gated convolution: the Mamba block without its state space."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Unpack

import torch
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
    name="gated-conv",
    family="convolutional",
    patterns="ns cs",
    extended="cs",
    summary="a short depthwise convolution of some channels, all multiplied by a gate",
    paper="MambaOut: Do We Really Need Mamba for Vision? (Yu, Wang)",
    year=2024,
    arxiv="2405.07992",
    padding="distance",
    time="N d (expansion d + conv_ratio reach^2)",
    memory="N d",
    state="reach min(ceil(expansion d), ceil(conv_ratio d)) / H",
    sees="abs(t - s) <= reach",
    published_defaults="kernel 7 x 7 (reach 3) on d channels, as here; width 8/3 d without a "
    "feed-forward part (8 d^2 parameters), here 4/3 d with one (4 d^2)",
    added="2026-11-21",
)
class GatedConvolution(Attention):
    r"""Multiply a depthwise convolution by a gate of the token itself.

    .. math:: y = W_o (\mathrm{GELU}(W_g x) \odot [W_i x, \mathrm{DWConv}(W_c x)])

    W_c makes conv_ratio d of the expansion d channels; the others meet no neighbour. On a picture
    the kernel is a square of 2 reach + 1, else it lies along the sequence. In CS, beyond the
    paper, it looks back (the gated convolution of Dauphin et al., 2017, is causal too).
    """

    @dataclass(frozen=True)
    class Config:
        """reach of the kernel to each side; expansion: width of the gated features over d.

        conv_ratio: channels that are convolved over d; all features where those are fewer.
        """

        reach: int = 3
        expansion: float = 4 / 3
        conv_ratio: float = 1.0

        def __post_init__(self) -> None:
            if self.reach < 1 or min(self.expansion, self.conv_ratio) <= 0:
                raise ValueError("reach must be at least 1, and expansion and conv_ratio positive")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = ceil(self.config.expansion * self.dim)
        self.gate = nn.Linear(self.dim, width)
        self.content = nn.Linear(self.dim, width)
        convolved = min(width, ceil(self.config.conv_ratio * self.dim))
        self.parts = (width - convolved, convolved)
        self.convolution = Convolution(self, convolved, self.config.reach)
        self.output = nn.Linear(width, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve, gate. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        content = zero_padding(self.content(x), key_padding_mask)
        own, near = content.split(self.parts, dim=-1)
        return self._gated(x, own, self.convolution(near))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B R C"]:
        """Return what the convolution sees before the first token."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return self.convolution.nothing_recent(batch)

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B R C"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B R C"]]:
        """Convolve one token after those before it. See `Attention.step`."""
        own, near = self.content(x).split(self.parts, dim=-1)
        convolved, state = self.convolution.step(near, state)
        return self._gated(x, own, convolved), state

    def _gated(
        self,
        x: Float[Tensor, "*B D"],
        own: Float[Tensor, "*B I"],
        convolved: Float[Tensor, "*B C"],
    ) -> Float[Tensor, "*B D"]:
        content = torch.cat((own, convolved), dim=-1)
        return self.output(F.gelu(self.gate(x)) * content)
