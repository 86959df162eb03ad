"""LARA: softmax attention estimated by importance sampling around landmark queries and keys."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
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
    budget="landmarks",
    published_defaults="49 landmarks of 196 or more tokens; here 32, a quarter of 128",
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

    q and k are divided by :math:`E^{1/4}`; :math:`\mu_c = \bar q_c + \bar k_c` are the means of a
    segment's queries and keys, and the sample :math:`\omega_c` is drawn around :math:`\mu_c` in
    training if noise is 1 and is :math:`\mu_c` itself else, as at inference in the authors' code.
    The linear layer that it puts behind the means, an option, is left out; like it, alpha is
    kept above 1e-8. All queries enter the landmarks, so there is no causal form.
    """

    @dataclass(frozen=True)
    class Config:
        """landmarks: how many samples. noise: their standard deviation in training."""

        landmarks: int = 32
        noise: float = 0.0

        def __post_init__(self) -> None:
            if self.landmarks < 1 or self.noise < 0:
                raise ValueError("landmarks must be at least 1 and noise at least 0")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 if all keys are padded."""
        return at_least_float32(self._attend)(q, k, v, padded_keys(k, key_padding_mask))

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        padded: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B H N E"]:
        lowest = torch.finfo(q.dtype).min
        q, k = q / self.head_width**0.25, k / self.head_width**0.25
        landmarks = segments(padded, self.config.landmarks)
        hidden, absent = padded[:, None, None, :], landmarks.absent[:, None, None, :]
        mean_q = landmarks.means(q)
        center = mean_q + landmarks.means(k)
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
