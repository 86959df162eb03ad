"""Sparse distributed memory as attention: weights are intersections of two circles."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax

DEGREE = 12
"""Of the polynomial in the logarithm of I, which is right to 1e-5 for c from 1 to 7."""


@register_variant(
    name="sdm",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns cs nc cc",
    summary="attention weights from the overlap of the memory regions around query and key",
    paper="Attention Approximates Sparse Distributed Memory (Bricken, Pehlevan)",
    year=2021,
    arxiv="2111.05498",
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="64 bits and a radius of 11, the best for noisy queries; the same here",
)
class SparseDistributedMemoryAttention(CachedAttention):
    r"""The weight of key k counts the memory addresses within the radius of both q and k.

    .. math:: I(\theta) = \frac{1}{\pi} \int_{\theta/2}^{\pi/2}
              \exp\left(-\frac{c^2}{2 \cos^2 \varphi}\right) d\varphi, \quad
              c = \frac{n - 2r}{\sqrt{n}}, \quad
              o_t = \frac{\sum_{s \in V_t} I(\theta_{ts}) v_s}{\sum_{s \in V_t} I(\theta_{ts})}

    :math:`\theta_{ts}` is the angle between q_t and k_s; V_t are the unpadded keys, in CS those up
    to t. Of the addresses of n bits, I is the part within r bits of both of two that differ in
    :math:`n (1 - \cos \theta) / 2`, bits taken as normal (Kanerva, 1988, appendix B). The
    paper shows that softmax of :math:`\beta \cos \theta` approximates it; here the memory itself
    is what is trained.

    With :math:`u = \tan(\theta / 2)` and constants left out, :math:`\log I = -c^2 u^2 / 2 -
    \log (1 + u^2) - \log (c^2 u + c) + p(u / (1 + u))`, where p varies little and is a polynomial
    fitted at construction. The derivative by u is then :math:`-(c^2 u + c) e^{-p}`.
    """

    @dataclass(frozen=True)
    class Config:
        """bits: n, the length of addresses. radius: r, below half of it; smaller is sharper."""

        bits: int = 64
        radius: int = 11

        def __post_init__(self) -> None:
            if not 0 <= 2 * self.radius < self.bits:
                raise ValueError("radius must be at least 0 and less than half of bits")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.margin = (self.config.bits - 2 * self.config.radius) / self.config.bits**0.5
        # Plain numbers: a buffer would be rounded with the module to bfloat16.
        self.polynomial = _fit(self.margin)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        # In float32 at least: near parallel vectors the angle is a root of a small difference.
        precise = torch.promote_types(q.dtype, torch.float32)
        cosine = F.normalize(q.to(precise), dim=-1) @ F.normalize(k.to(precise), dim=-1).mT
        scores = self._log_intersection(cosine.to(precise).clamp(-1 + 1e-6, 1 - 1e-6))
        return masked_softmax(scores, hidden).to(v.dtype) @ v

    def _log_intersection(self, cosine: Float[Tensor, "B H N M"]) -> Float[Tensor, "B H N M"]:
        u = ((1 - cosine) / (1 + cosine)).sqrt()
        with torch.no_grad():
            slowly = _clenshaw(self.polynomial, 2 * u / (1 + u) - 1)
            steep = self.margin**2 * u + self.margin
            value = slowly - (self.margin * u) ** 2 / 2 - (1 + u**2).log() - steep.log()
            slope = -steep * (-slowly).exp()
        # The value, with its derivative: cheaper than to go back through the polynomial.
        return value + slope * (u - u.detach())


def _fit(c: float) -> list[float]:
    """Return the Chebyshev coefficients of p on [-1, 1], by quadrature and interpolation."""
    order = torch.arange(DEGREE + 1, dtype=torch.float64)
    angles = math.pi * (order + 0.5) / (DEGREE + 1)
    t = (1 + angles.cos()) / 2
    u = (t / (1 - t))[:, None]
    # The integral from u on of exp(-c^2 (x^2 - u^2) / 2) / (1 + x^2), to 40 times its scale; steps
    # that start at nothing leave the trapezoid rule no error of second order.
    steps = 40 * torch.linspace(0, 1, 4001, dtype=torch.float64) ** 3
    x = u + steps / (c**2 * u + c)
    integral = torch.trapezoid((-(c**2) * (x**2 - u**2) / 2).exp() / (1 + x**2), x)
    p = integral.log() + ((1 + u**2) * (c**2 * u + c)).log()[:, 0]
    coefficients = 2 / (DEGREE + 1) * (order[:, None] * angles).cos() @ p
    coefficients[0] /= 2
    return coefficients.tolist()


def _clenshaw(coefficients: list[float], x: Tensor) -> Tensor:
    """Evaluate a sum of Chebyshev polynomials."""
    one, two = torch.zeros_like(x), torch.zeros_like(x)
    for coefficient in reversed(coefficients[1:]):
        one, two = 2 * x * one - two + coefficient, one
    return x * one - two + coefficients[0]
