"""LARA: softmax attention estimated by importance sampling around landmark queries and keys."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible
from cab.variants.linear._segments import segments


@register_variant(
    name="lara",
    family="linear",
    patterns="ns",
    summary="random features sampled around landmarks, reweighted for each query",
    paper="Linear Complexity Randomized Self-attention Mechanism (Zheng, Wang, Kong)",
    year=2022,
    arxiv="2204.04667",
    time="N landmarks d",
    memory="N landmarks H",
    published_defaults="8 to 32 landmarks on sequences, 49 on 196 tokens of a picture, here 16, "
    "an eighth of 128; samples N(mu, I), as here; the authors' code adds that noise before the "
    "division by the fourth root of E, which makes it that much smaller",
    added="2026-11-21",
)
class LaraAttention(MultiHeadAttention):
    r"""Combine the outputs of C samples by self-normalised multiple importance weights.

    .. math:: o_t = \sum_c \frac{w_{tc}}{\sum_{c'} w_{tc'}} f(\omega_c), \quad
              f(\omega) = \frac{\sum_s \xi(k_s, \omega) v_s}{\sum_s \xi(k_s, \omega)}, \quad
              \xi(x, \omega) = \exp(\omega \cdot x - |x|^2 / 2)

    .. math:: w_{tc} = \alpha_{tc} \frac{\xi(q_t, \omega_c) \sum_s \xi(k_s, \omega_c)}
              {\xi(\mu_c, \omega_c)}, \quad
              \alpha_{tc} = \frac{\xi(\mu_c, \omega_c)}{\sum_{c'} \xi(\mu_{c'}, \omega_c)}
              + r_{tc} - \frac{1}{C} \sum_{c'} r_{tc'}, \quad
              r_{tc} = \mathrm{softmax}_t(q_t \cdot \bar q_c)

    q and k are divided by :math:`E^{1/4}`; :math:`\mu_c = \bar q_c + \bar k_c`, where
    :math:`\bar q_c` is the mean over a segment of :math:`\mathrm{LN}(W q_t + b)`, and
    :math:`\bar k_c` likewise: linear layers and layer norms that all heads share, as in the
    authors' networks for sequences. The sample :math:`\omega_c` is drawn from
    :math:`N(\mu_c, \text{noise}^2)` in training, and in evaluation it is :math:`\mu_c`. As in the
    authors' code alpha is kept above 1e-8. All queries enter the landmarks, so there is no causal
    form.
    """

    @dataclass(frozen=True)
    class Config:
        """landmarks: how many samples. noise: their standard deviation in training."""

        landmarks: int = 16
        noise: float = 1.0

        def __post_init__(self) -> None:
            if self.landmarks < 1 or self.noise < 0:
                raise ValueError("landmarks must be at least 1 and noise at least 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query_landmark, self.key_landmark = (
            nn.Sequential(
                nn.Linear(self.head_width, self.head_width), nn.LayerNorm(self.head_width)
            )
            for _ in range(2)
        )

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 if all keys are padded."""
        mapped = self.query_landmark(q), self.key_landmark(k)
        return at_least_float32(self._attend)(q, k, v, *mapped, padded_keys(k, key_padding_mask))

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        mapped_q: Float[Tensor, "B H N E"],
        mapped_k: Float[Tensor, "B H N E"],
        padded: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B H N E"]:
        lowest = torch.finfo(q.dtype).min
        q, k, mapped_q, mapped_k = (x / self.head_width**0.25 for x in (q, k, mapped_q, mapped_k))
        landmarks = segments(padded, self.config.landmarks)
        hidden, absent = padded[:, None, None, :], landmarks.absent[:, None, None, :]
        mean_q = landmarks.means(mapped_q)
        center = mean_q + landmarks.means(mapped_k)
        sample = center
        if self.training and self.config.noise:
            sample = center + self.config.noise * torch.randn_like(center)

        log_keys = _log_xi(k, sample).mT.masked_fill(hidden, lowest)  # (B, H, C, N)
        read = softmax_over_visible(log_keys, hidden) @ v
        log_centers = _log_xi(center, sample)  # center by sample
        own = log_centers.diagonal(dim1=-2, dim2=-1)[..., None, :]
        mixture = log_centers.masked_fill(absent.mT, lowest).logsumexp(dim=-2, keepdim=True)
        nearness = softmax_over_visible(q @ mean_q.mT, hidden.mT, dim=2).masked_fill(absent, 0.0)
        mean_nearness = nearness.sum(dim=-1, keepdim=True) / (~absent).sum(-1, True).clamp(min=1)
        balance = (own - mixture).masked_fill(absent, lowest).exp()
        alpha = (balance + nearness - mean_nearness).clamp(min=1e-8)
        log_weight = alpha.log() + q @ sample.mT + log_keys.logsumexp(dim=-1)[..., None, :] - own
        return softmax_over_visible(log_weight, absent) @ read


def _log_xi(
    x: Float[Tensor, "B H N E"], sample: Float[Tensor, "B H C E"]
) -> Float[Tensor, "B H N C"]:
    return x @ sample.mT - x.square().sum(dim=-1, keepdim=True) / 2
