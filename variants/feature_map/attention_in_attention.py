"""Attention in attention: weights from the map's means mix a gated branch and a plain one."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant
from cab.variants.feature_map._maps import to_map, to_tokens, zero_places
from cab.variants.feature_map._pooling import pooled_mean

SLOPE = 0.2
"""Of the leaky rectifiers below 0."""


@register_variant(
    name="attention-in-attention",
    family="feature_map",
    patterns="ns",
    summary="a gated and a plain convolution of the map, mixed by weights from its means",
    paper="Attention in Attention Network for Image Super-Resolution (Chen, Gu, Zhang)",
    year=2021,
    arxiv="2104.09497",
    time="N d^2",
    memory="N d",
    needs_grid=True,
    published_defaults="reduction 4 and temperature 30, as here, and 3 x 3 convolutions between "
    "all channels; here they are depthwise, since a layer would have four times the parameters "
    "of softmax",
    added="2026-11-30",
)
class AttentionInAttention(Attention):
    r"""Weigh an attention branch against a branch without attention.

    .. math::
        y &= x + W_2\,\phi\left(\pi_1 K_4 (K_3 u \odot \sigma(K_2 \phi(K_1 u)))
             + \pi_2 K_5 u\right), \quad u = \phi(W_1 x), \\
        \pi &= \mathrm{softmax}\left(V_2\,\mathrm{relu}(V_1 \bar u) / \tau\right)

    :math:`\phi` is a leaky rectifier, :math:`K_2` is linear, :math:`K_1, K_3, K_4, K_5` are
    3 x 3 convolutions, here depthwise, the bar is the mean over unpadded places, :math:`\tau` the
    temperature. The shortcut x is inside the block, as in the paper. Padding is zeroed before each
    convolution.
    """

    @dataclass(frozen=True)
    class Config:
        """reduction of the hidden layer of the weights; their softmax's temperature."""

        reduction: int = 4
        temperature: float = 30.0

        def __post_init__(self) -> None:
            if self.reduction < 1 or self.temperature <= 0:
                raise ValueError("reduction must be at least 1 and temperature positive")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, hidden = self.dim, max(1, self.dim // self.config.reduction)
        self.input, self.output = (nn.Linear(dim, dim, bias=False) for _ in ("in", "out"))
        self.squeeze = nn.Linear(dim, hidden, bias=False)
        self.weigh = nn.Linear(hidden, 2, bias=False)
        self.gate = nn.Conv2d(dim, dim, 1)
        self.before_gate, self.gated, self.after_gate, self.plain = (
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False) for _ in range(4)
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve, gate and mix. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        u = F.leaky_relu(self.input(x), SLOPE)
        scores = self.weigh(self.squeeze(pooled_mean(u, key_padding_mask)).relu())
        weights = (scores / self.config.temperature).softmax(dim=1)[:, :, None, None, None]
        picture = to_map(u, self.grid)
        gates = self.gate(F.leaky_relu(self.before_gate(picture), SLOPE)).sigmoid()
        attended = self.after_gate(zero_places(self.gated(picture) * gates, key_padding_mask))
        mixed = attended * weights[:, 0] + self.plain(picture) * weights[:, 1]
        return x + self.output(F.leaky_relu(to_tokens(mixed), SLOPE))
