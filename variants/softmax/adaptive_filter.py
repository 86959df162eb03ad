"""Adaptive filter attention: weights from the precision with which a key predicts the query."""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.time_constants import spread, value_heads
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="adaptive-filter",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="keys carried to the query's time by linear dynamics, weighed by their precision and "
    "by how well they fit",
    paper="Attention as an Adaptive Filter (Racioppo)",
    year=2025,
    arxiv="2509.04154",
    padding="distance",
    time="N^2 d",
    memory="N^2 H",
    state="2 M E",
    published_defaults="complex projections, decays and noises drawn at random; here real "
    "projections, decays spread over the training length, noises of log 2, and 4 filters or "
    "more where widths allow it",
    added="2026-11-30",
)
class AdaptiveFilterAttention(CachedAttention):
    r"""Weigh keys as noisy measurements of one state that decays, rotates and diffuses.

    .. math:: o_t = \sum_{s \in V_t} a_{ts} \Phi_{ts} v_s, \quad
              a_{ts} = \mathrm{softmax}_s\left(-\tau^2 \left(\log P_{ts}
              + \log\left(1 + \frac{|q_t - \Phi_{ts} k_s|^2}{\nu P_{ts} E / 2}\right)\right)\right)

    .. math:: \Phi_{ts} = e^{-\alpha |t - s|} R^{t - s}, \quad
              P_{ts} = \sigma^2 \frac{1 - e^{-2 \alpha |t - s|}}{2 \alpha}
              + \eta^2 e^{-2 \alpha |t - s|} + \gamma^2

    R rotates pairs of channels as rotary positions do (of an odd number, one is left as it is). P
    is the variance with which a measurement (noise :math:`\eta^2`) predicts the state after the
    time between the tokens (process noise :math:`\sigma^2`), as the query sees it (noise
    :math:`\gamma^2`). :math:`\alpha, \sigma, \eta, \gamma, \nu, \tau` are learned for each filter.
    V_t are the unpadded keys; in CS those up to t. This is the isotropic form with robust weights,
    in which work grows with N^2 as in softmax attention. NS, beyond the paper, takes the same
    variance for later tokens.

    What differs: the projections are those of softmax attention, where the paper's are complex;
    the rates of R are those of rotary positions and not learned; the paper's gates and prediction
    of the next token are left out. Layers with fewer than 4 heads have 2 or 4 filters in a head
    where its width is divisible, so that there are different decays; their time constants start
    evenly spread up to twice the training length.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.filters = self.heads * value_heads(self.heads, self.head_width)
        self.width = self.dim // self.filters
        self.log_rates = nn.Parameter(-spread(self.filters, self.train_length).log().float())
        # Process, measurement and query noise, scale of the residual: positive by softplus.
        self.noises = nn.Parameter(torch.zeros(4, self.filters))
        self.sharpness = nn.Parameter(torch.ones(self.filters))

    def no_weight_decay(self) -> set[str]:
        """Decays, noises and temperatures are not weights."""
        return {"log_rates", "noises", "sharpness"}

    def split_heads(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B F N W"]:
        """Cut the model width into filters."""
        return x.unflatten(-1, (self.filters, self.width)).transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "B F N W"],
        k: Float[Tensor, "B F M W"],
        v: Float[Tensor, "B F M W"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B F N W"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B F N W"],
        k: Float[Tensor, "B F M W"],
        v: Float[Tensor, "B F M W"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B F N W"]:
        hidden = hidden_pairs(q, k, causal=self.pattern.causal, key_padding_mask=key_padding_mask)
        s = torch.arange(k.shape[2], device=q.device, dtype=q.dtype)
        t = s[k.shape[2] - q.shape[2] :]
        rate = self.log_rates.to(q.dtype).exp()[:, None, None]
        exponent = -rate * (t[:, None] - s).abs()
        decay = exponent.exp()
        process, measured, query, scale = F.softplus(self.noises.to(q.dtype))[..., None, None]
        variance = -process * (2 * exponent).expm1() / (2 * rate) + measured * decay**2 + query
        # Turned back to time 0, a key differs from a query by the rotation between their times.
        q, k, v = _rotate(q, -t), _rotate(k, -s), _rotate(v, -s)
        norms = q.square().sum(-1)[..., None] + decay**2 * k.square().sum(-1)[..., None, :]
        residual = (norms - 2 * decay * (q @ k.mT)).clamp(min=0)
        misfit = (residual / (scale * variance * self.width / 2)).log1p()
        sharpness = self.sharpness.to(q.dtype).square()[:, None, None]
        weights = masked_softmax(-sharpness * (variance.log() + misfit), hidden)
        return _rotate((weights * decay) @ v, t)


def _rotate(x: Float[Tensor, "B F N W"], times: Float[Tensor, " N"]) -> Float[Tensor, "B F N W"]:
    """Turn the pairs (c, c + W // 2) by angles that grow with the time; one may be left over."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** -(torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angles = times[:, None] * rates
    a, b, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    c, s = angles.cos(), angles.sin()
    return torch.cat((a * c - b * s, a * s + b * c, rest), dim=-1)
