"""Partial convolution: some channels are convolved, the others gated by channel attention."""

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
    name="partial",
    family="convolutional",
    patterns="ns",
    summary="a dense convolution on a quarter of the channels; the others are gated by mean and "
    "deviation",
    paper="Partial Convolution Meets Visual Attention (Huang, Yang, Li, Liu, Tian, Peng, Ren, "
    "Barsoum)",
    year=2025,
    arxiv="2503.03148",
    padding="distance",
    time="N d^2",
    memory="N d",
    published_defaults="a quarter of the channels, kernels of 3 x 3, as here",
    added="2026-11-21",
)
class PartialConvolution(Attention):
    r"""Split the channels (the paper's block PAT_ch) and give each part its own context.

    .. math:: y = \big[\mathrm{Conv}_3(x_{1:p}), \;
              x_{p:} \odot \mathrm{hardsigmoid}(W [\mathrm{mean}(x_{p:}), \mathrm{std}(x_{p:})])
              \big], \qquad p = d / \text{share}

    Mean and deviation are taken over the row's own n tokens; the deviation is
    :math:`\sqrt{\mathrm{var} + 10^{-5}}` with the variance of a sample (divided by n - 1), which
    is 0 for one token. On a picture the kernel is a square,
    else it lies along the sequence. The paper's batch norms are left out: rows of a batch would
    meet. Its spatial gate sits in the feed-forward part, which is the backbone's.
    """

    @dataclass(frozen=True)
    class Config:
        """share: one in so many channels is convolved; reach of the kernel to each side."""

        share: int = 4
        reach: int = 1

        def __post_init__(self) -> None:
            if self.share < 2 or self.reach < 1:
                raise ValueError("share must be at least 2 and reach at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        convolved = max(1, self.dim // self.config.share)
        self.parts = (convolved, self.dim - convolved)
        if not self.parts[1]:
            raise ValueError(f"dim = {self.dim} leaves no channel to weigh.")
        self.convolution = Convolution(
            self, convolved, self.config.reach, bias=False, depthwise=False
        )
        self.gate = nn.Linear(2 * self.parts[1], self.parts[1], bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve a part, weigh the rest. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        convolved, rest = x.split(self.parts, dim=-1)
        wide = rest.to(torch.promote_types(x.dtype, torch.float32))
        present = torch.ones_like(wide[:, :, :1])
        if key_padding_mask is not None:
            present = present.masked_fill(key_padding_mask[:, :, None], 0.0)
        count = present.sum(dim=1, keepdim=True).clamp(min=1)
        mean = wide.sum(dim=1, keepdim=True) / count
        squares = ((wide - mean).square() * present).sum(dim=1, keepdim=True)
        variance = squares / (count - 1).clamp(min=1)
        moments = torch.cat((mean, (variance + 1e-5).sqrt()), dim=-1).to(x.dtype)
        weighed = rest * F.hardsigmoid(self.gate(moments))
        return torch.cat((self.convolution(convolved), weighed), dim=-1)
