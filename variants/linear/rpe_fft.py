"""Kernelised attention with a learned weight per distance, applied by Fourier transforms."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cab.attention import Geometry
from cab.decoding import CachedAttention, KeyValueCache
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import hide, normalise, with_ones


@register_variant(
    name="rpe-fft",
    family="linear",
    patterns="ns cs",
    summary="random features of unit queries and keys, with a learned weight per distance, by FFT",
    paper="Stable, Fast and Accurate: Kernelized Attention with Relative Positional Encoding "
    "(Luo et al.)",
    year=2021,
    arxiv="2106.12566",
    padding="distance",
    time="N log(N)^2 features d",
    memory="N features d",
    state="2 M E",
    published_defaults="64 features or fewer; here 16, for short lengths",
    added="2026-11-21",
)
class RpeFftAttention(CachedAttention):
    r"""Multiply the weights by :math:`c_{t-s}`, which is a convolution.

    .. math:: o_t = \frac{\sum_{s \in V_t} w_{ts} v_s}{\sum_{s \in V_t} w_{ts}}, \quad
              w_{ts} = e^{b_{t-s}} \, \phi(\hat q_t) \cdot \phi(\hat k_s), \quad
              \hat x = x / \|x\|, \quad \phi_j(x) = \exp(\omega_j \cdot x)

    with learned b per head and distance, as many as max_length needs, and standard normal
    :math:`\omega` drawn once. Vectors of length 1 keep the features in range.

    For each feature j, :math:`\sum_s c_{t-s} \phi_j(\hat k_s) v_s` is a convolution over time.
    One transform of the whole sequence, as in the paper, would carry rounding errors of later
    tokens to earlier ones. So the sequence is halved, and its halves again: only what crosses
    from one half to the other is transformed, and pairs within a block meet directly.
    """

    @dataclass(frozen=True)
    class Config:
        """features: random ones. block: tokens that meet directly; it changes the cost only."""

        features: int = 16
        block: int = 64

        def __post_init__(self) -> None:
            if min(self.features, self.block) < 1:
                raise ValueError("features and block must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.randn(self.config.features, self.head_width))
        distances = self.max_length if self.pattern.causal else 2 * self.max_length - 1
        self.bias = nn.Parameter(torch.zeros(self.heads, distances))  # the last is t - s = L - 1

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        key_padding_mask: Bool[Tensor, "B N"] | None,
    ) -> Float[Tensor, "B H N E"]:
        length = q.shape[2]
        block = min(self.config.block, length)
        size = block << (-(-length // block) - 1).bit_length()  # a power of two blocks
        backward, forward = self._distance_weights(size, q.dtype)
        keys = hide(self._features(k), key_padding_mask)
        parts = self._features(q), keys, with_ones(v)
        parts = tuple(F.pad(x, (0, 0, 0, size - length)) for x in parts)

        queries, keys, values = (x.unflatten(2, (-1, block)) for x in parts)
        lag = torch.arange(block, device=q.device)[:, None] - torch.arange(block, device=q.device)
        toeplitz = backward[:, lag.clamp(min=0)].where(lag >= 0, forward[:, (-lag).clamp(min=0)])
        sums = (queries @ keys.mT * toeplitz[:, None] @ values).flatten(2, 3)
        half = block
        while half < size:
            earlier, later = zip(
                *(x.unflatten(2, (-1, 2, half)).unbind(3) for x in parts), strict=True
            )
            to_later = _transform(later[0], *earlier[1:], backward[:, : 2 * half])
            to_earlier = torch.zeros_like(to_later)
            if not self.pattern.causal:  # the same in reversed time
                reversed_parts = (x.flip(3) for x in (earlier[0], *later[1:]))
                to_earlier = _transform(*reversed_parts, forward[:, : 2 * half]).flip(3)
            sums = sums + torch.stack((to_earlier, to_later), dim=3).flatten(2, 4)
            half *= 2
        return normalise(sums[:, :, :length])

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Weigh the whole cache for the last query."""
        return at_least_float32(self._recall)(q, state)

    def _recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        backward, _ = self._distance_weights(state.k.shape[2], q.dtype)
        keys = hide(self._features(state.k), state.key_padding_mask)
        weights = self._features(q) @ keys.mT * backward.flip(1)[:, None]
        return normalise(weights @ with_ones(state.v))

    def _features(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        unit = x / norm.masked_fill(norm == 0, 1.0)
        return (unit @ self.frequencies.to(x.dtype).mT).exp()

    def _distance_weights(
        self, count: int, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "H count"], Float[Tensor, "H count"]]:
        """Return c at the distances t - s = 0, 1, ... and 0, -1, ..., 0 beyond max_length."""
        bias = self.bias.to(dtype)
        # A maximum over parameters, which no token moves: it cancels.
        weights = (bias - bias.detach().amax(dim=1, keepdim=True)).exp()
        backward = weights[:, -self.max_length :][:, :count]
        forward = weights[:, : self.max_length].flip(1)[:, :count]
        if self.pattern.causal:
            forward = torch.zeros_like(backward)
        missing = (0, count - backward.shape[1])
        return F.pad(backward, missing), F.pad(forward, missing)


def _transform(
    queries: Float[Tensor, "B H P C J"],
    keys: Float[Tensor, "B H P C J"],
    values: Float[Tensor, "B H P C V"],
    weights: Float[Tensor, "H twice"],
) -> Float[Tensor, "B H P C V"]:
    """Return sum_s c_{C + t - s} (q_t . k_s) v_s of queries in the half after that of the keys."""
    inputs = queries, keys, values, weights
    # Computed again in the backward pass: spectra of every feature and level are large.
    return checkpoint(_convolve, *inputs, use_reentrant=False, preserve_rng_state=False)


def _convolve(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    twice = weights.shape[1]
    products = keys[..., :, None] * values[..., None, :]  # (B, H, P, C, J, V)
    spectrum = torch.fft.rfft(products, n=twice, dim=3)
    spectrum = spectrum * torch.fft.rfft(weights)[:, None, :, None, None]
    moved = torch.fft.irfft(spectrum, n=twice, dim=3)[:, :, :, twice // 2 :]
    return (queries[..., None, :] @ moved).squeeze(-2)
