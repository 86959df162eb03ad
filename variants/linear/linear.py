"""Linear attention: the softmax kernel replaced by a product of positive features."""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant


class KeyValueSum(NamedTuple):
    """The decode state: sum of phi(k) [v, 1]^T, of E (E + 1) elements per head."""

    total: Float[Tensor, "B H E F"]


@register_variant(
    name="linear",
    family="linear",
    patterns="ns cs nc cc",
    extended="nc cc",
    summary="kernel attention with the feature map elu + 1",
    paper="Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention "
    "(Katharopoulos et al.)",
    year=2020,
    arxiv="2006.16236",
    time="N d^2",
    memory="N d",
    state="E (E + 1)",
    published_defaults="feature map elu(x) + 1",
    added="2026-11-21",
)
class LinearAttention(DecodingAttention):
    r"""Weigh values by products of features, :math:`\phi(x) = \mathrm{elu}(x) + 1`.

    .. math:: o_t = \frac{\phi(q_t)^\top \sum_{s \in V_t} \phi(k_s) v_s^\top}
              {\phi(q_t)^\top \sum_{s \in V_t} \phi(k_s)}

    V_t are the unpadded keys; in CS those up to t, summed in chunks. A column of ones beside v
    makes the denominator one more value. The paper gives NS and CS; cross forms are the same sum.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk of the causal form; it changes the cost, not the result."""

        chunk: int = 64

        def __post_init__(self) -> None:
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H N E"]:
        features, values = self._key_features(k, key_padding_mask), _with_ones(v)
        if self.pattern.causal and not self.pattern.cross:
            return _normalise(
                causal_linear_attention(_feature_map(q), features, values, self.config.chunk)
            )
        return _normalise(_feature_map(q) @ (features.mT @ values))

    def absorb(
        self,
        state: KeyValueSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueSum:
        """Add the keys' and values' outer products."""
        total = self._key_features(k, key_padding_mask).mT @ _with_ones(v)
        return KeyValueSum(total if state is None else state.total + total)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: KeyValueSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with one query."""
        return _normalise(_feature_map(q) @ state.total)

    def _key_features(
        self, k: Float[Tensor, "B H M E"], key_padding_mask: Bool[Tensor, "B M"] | None
    ) -> Float[Tensor, "B H M E"]:
        features = _feature_map(k)
        if key_padding_mask is None:
            return features
        return features.masked_fill(key_padding_mask[:, None, :, None], 0.0)


def _feature_map(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    # exp(x) below 0, where elu(x) + 1 cancels to nothing in float32; above it 1 + x.
    return x.clamp(max=0).exp() + x.relu()


def _with_ones(v: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H M F"]:
    return F.pad(v, (0, 1), value=1.0)


def _normalise(sums: Float[Tensor, "B H N F"]) -> Float[Tensor, "B H N E"]:
    numerator, denominator = sums[..., :-1], sums[..., -1:]
    # Clamping the denominator instead would send infinite gradients through it.
    return numerator / denominator.masked_fill(denominator == 0, 1.0)
