"""Group generalised mean: each group of channels is pooled with an exponent of its own."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant

LEAST = 1e-6
"""What smaller elements of the map are raised to before the power."""


@register_variant(
    name="ggem",
    family="feature_map",
    patterns="ns",
    summary="channels gated by two linear layers on a mean with a learned power for each group",
    paper="Group Generalized Mean Pooling for Vision Transformer (Ko, Kim, Heo, Yun, Chun, Gu, "
    "Kim)",
    year=2022,
    arxiv="2212.04114",
    time="N d",
    memory="N d",
    needs_grid=True,
    published_defaults="the pooling ahead of the classifier of a vision transformer, with as "
    "many groups as heads; a module here returns a map, so the pooled channels gate it by the "
    "layers of squeeze-and-excitation (reduction 4), and the power starts at 3",
    added="2026-11-30",
)
class GroupGeneralizedMeanGate(Attention):
    r"""Scale channels: :math:`y = x \odot \sigma(W_2\,\mathrm{relu}(W_1 f))`.

    .. math:: f_c = \left(\frac{1}{N} \sum_t \max(x_{tc}, 10^{-6})^{p_g}\right)^{1 / p_g}

    g is the group of channel c, one for each head, and :math:`p_g` is learned: 1 gives the mean, a
    large p the maximum. The mean runs over unpadded places and is taken of logarithms, so that no
    power overflows. The gate around the pooling is that of `se`, not of the paper, which has none.
    """

    @dataclass(frozen=True)
    class Config:
        """power p at the start; reduction of the channels' hidden layer."""

        power: float = 3.0
        reduction: int = 4

        def __post_init__(self) -> None:
            if self.power <= 0 or self.reduction < 1:
                raise ValueError("power must be positive, reduction at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        hidden = max(1, self.dim // self.config.reduction)
        self.power = nn.Parameter(torch.full((self.heads,), self.config.power))
        self.squeeze, self.excite = nn.Linear(self.dim, hidden), nn.Linear(hidden, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        pooled = self._pool(x, key_padding_mask)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))[:, None]

    def _pool(
        self, x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B D"]:
        """Return f; a row without unpadded places gives 0."""
        wide = torch.promote_types(x.dtype, torch.float32)
        power = self.power.to(wide).repeat_interleave(self.dim // self.heads)
        logarithms = power * x.to(wide).clamp(min=LEAST).log()
        count: Tensor | float = math.log(x.shape[1])
        if key_padding_mask is not None:
            lowest = torch.finfo(wide).min
            logarithms = logarithms.masked_fill(key_padding_mask[:, :, None], lowest)
            count = (~key_padding_mask).sum(dim=1, keepdim=True).clamp(min=1).to(wide).log()
        return ((logarithms.logsumexp(dim=1) - count) / power).exp().to(x.dtype)
