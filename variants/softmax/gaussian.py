"""Gaussian adaptive attention: values weighed by how near they are to a learned offset mean."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant
from cab.variants.softmax._masked import masked_softmax


@register_variant(
    name="gaussian",
    family="softmax",
    patterns="ns",
    summary="each feature weighed over the tokens by Gaussians around its mean plus an offset",
    paper="Gaussian Adaptive Attention is All You Need: Robust Contextual Representations Across "
    "Multiple Modalities (Ioannides, Chadha, Elkins)",
    year=2024,
    arxiv="2401.11143",
    time="N d^2",
    memory="N d gaussians",
    published_defaults="gaussians is chosen for each task, and widths start as exponentials of "
    "normal numbers; here 4 gaussians, with the same start",
    added="2026-11-30",
)
class GaussianAdaptiveAttention(Attention):
    r"""Weigh tokens by a product of G Gaussians in each feature.

    .. math:: w_t = \mathrm{softmax}_t \left(-\sum_{g=1}^{G}
              \frac{(v_t - \mu - \delta_g)^2}{2 c_g^2 \sigma^2}\right), \quad
              o_t = N w_t v_t, \quad
              \mu = \tfrac1N \sum_t v_t, \quad \sigma^2 = \tfrac1N \sum_t (v_t - \mu)^2

    for each feature of the values v alone, over the N unpadded tokens. Each head has its offsets
    :math:`\delta` and widths c (held as logarithms, which keeps them positive). The softmax is the
    paper's product of densities divided by its sum, in which constant factors cancel. Work grows
    with N. The paper multiplies features by w without projections, and w is of the size of 1/N:
    here there are value and output projections, and the factor N, with which even weights leave
    the values as they are. The variance divides by N, not by N - 1, so that one token is enough.
    All tokens share mean and variance, so there is no causal form.
    """

    @dataclass(frozen=True)
    class Config:
        """gaussians: G."""

        gaussians: int = 4

        def __post_init__(self) -> None:
            if self.gaussians < 1:
                raise ValueError("gaussians must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        self.offsets = nn.Parameter(torch.zeros(self.heads, self.config.gaussians))
        self.log_widths = nn.Parameter(torch.randn(self.heads, self.config.gaussians))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Weigh the values over the tokens, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        v = self.value(x).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # (B, H, E, N)
        hidden = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        hidden = hidden if key_padding_mask is None else key_padding_mask
        mixed = self._weigh(v.to(torch.promote_types(v.dtype, torch.float32)), hidden)
        return self.output(mixed.to(v.dtype).permute(0, 3, 1, 2).flatten(2))

    def no_weight_decay(self) -> set[str]:
        """Widths are held as logarithms, which decay would draw to 1."""
        return {"log_widths", "offsets"}

    def _weigh(
        self, v: Float[Tensor, "B H E N"], hidden: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B H E N"]:
        hidden = hidden[:, None, None]
        count = (~hidden).sum(dim=-1, keepdim=True).to(v.dtype)
        mean = v.sum(dim=-1, keepdim=True) / count.clamp(min=1)  # padded values are 0
        centred = (v - mean).masked_fill(hidden, 0.0)
        variance = centred.square().sum(dim=-1, keepdim=True) / count.clamp(min=1) + 1e-8
        scores = torch.zeros_like(v)
        for offset, log_width in zip(self.offsets.mT, self.log_widths.mT, strict=True):
            precision = (-2 * log_width).exp()[:, None, None]
            scores = scores - precision * (centred - offset[:, None, None]).square()
        return (
            count
            * masked_softmax(scores / (2 * variance), hidden.expand(-1, -1, v.shape[2], -1))
            * v
        )
