"""Scale-aware modulation: values multiplied by depthwise convolutions of several widths."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant
from cab.variants.convolutional._convolution import Convolution


@register_variant(
    name="scale-aware",
    family="convolutional",
    patterns="ns",
    summary="values multiplied by depthwise convolutions whose width grows from head to head",
    paper="Scale-Aware Modulation Meet Transformer (Lin, Wu, Chen, Huang, Jin)",
    year=2023,
    arxiv="2307.08579",
    padding="distance",
    time="N d (d expansion + H^2)",
    memory="N d expansion",
    sees="abs(row_t - row_s) <= H and abs(column_t - column_s) <= H",
    needs_grid=True,
    published_defaults="4 heads with kernels of 3 x 3 to 9 x 9, expansion 2 (6 d^2 parameters), "
    "batch normalisation; here a kernel of 2 h + 1 for head h, expansion 1 (4 d^2) and layer "
    "normalisation",
    added="2026-11-30",
)
class ScaleAwareModulation(Attention):
    r"""Convolve each head at its own scale, mix the scales, and multiply the values.

    .. math:: m = [\mathrm{DWConv}_{3 \times 3}(s_1), \dots,
              \mathrm{DWConv}_{(2H+1) \times (2H+1)}(s_H)], \quad s = W_s x

    .. math:: y = W_o \big(W_2\, \mathrm{GELU}(\mathrm{LN}(G m)) \odot W_v x\big)

    s_h are the channels of head h, and every convolution has a bias. G mixes scales: channel e of
    all heads is one group of H channels, which it maps to r H (the scale-aware aggregation). In
    the paper batch normalisation follows G, with which examples would read each other, so that
    layer normalisation stands in its place. Work is linear in the number of tokens.
    """

    @dataclass(frozen=True)
    class Config:
        """expansion: r, channels after G for each channel before it."""

        expansion: int = 1

        def __post_init__(self) -> None:
            if self.expansion < 1:
                raise ValueError("expansion must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width, wide = self.dim // self.heads, self.config.expansion * self.dim
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.scales = nn.Linear(self.dim, self.dim, bias=False)
        self.convolutions = nn.ModuleList(
            Convolution(self, width, head + 1) for head in range(self.heads)
        )
        self.mix = nn.Conv1d(self.dim, wide, 1, groups=width)
        self.norm = nn.LayerNorm(wide)
        self.modulator = nn.Linear(wide, self.dim)
        self.output = nn.Linear(self.dim, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve, aggregate, modulate. See `Attention.forward`."""
        # Padded tokens are 0, and without a bias so are their scales.
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        parts = self.scales(x).unflatten(-1, (self.heads, -1)).unbind(dim=2)
        pairs = zip(self.convolutions, parts, strict=True)
        # Channel e of all heads stands together: group e.
        at_scales = torch.stack([convolve(part) for convolve, part in pairs], dim=-1).flatten(-2)
        mixed = self.norm(self.mix(at_scales.mT).mT)
        return self.output(self.modulator(F.gelu(mixed)) * self.value(x))
