"""FAST: attention by a polynomial of the scores, which factorises into features."""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import hide, normalise, taylor_features, with_ones


class KeyValueSum(NamedTuple):
    """The decode state: the sum of key features times [v, 1]^T."""

    total: Float[Tensor, "B H J V"]


@register_variant(
    name="fast",
    family="linear",
    patterns="ns cs",
    summary="second-order Taylor series of the exponential on standardised queries and keys",
    paper="FAST: Factorizable Attention for Speeding up Transformers (Gerami et al.)",
    year=2024,
    arxiv="2402.07901",
    time="N d E^2",
    memory="N d E",
    state="(E + 1) (E + 2) / 2 (E + 1)",
    published_defaults="order 1 or 2; here 2, whose weights are never negative",
    added="2026-11-21",
)
class FastAttention(DecodingAttention):
    r"""Weigh values by a polynomial of order 2 (Fastmax).

    .. math:: o_t = \frac{\sum_{s \in V_t} f(\hat q_t \cdot \hat k_s) v_s}
              {\sum_{s \in V_t} f(\hat q_t \cdot \hat k_s)}, \quad
              f(x) = 1 + x + \frac{x^2}{2}, \quad
              \hat x = \frac{x - \mathrm{mean}(x)}{\mathrm{std}(x)}

    with mean and standard deviation over the components of one query or key. f is a product of
    features: 1, the E components and their E (E + 1) / 2 products, where the paper counts E^2.
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
        if not self.pattern.causal:
            return self.recall(q, self.absorb(None, k, v, key_padding_mask))
        keys = hide(_features(k), key_padding_mask)
        sums = causal_linear_attention(_features(q), keys, with_ones(v), self.config.chunk)
        return normalise(sums)

    def absorb(
        self,
        state: KeyValueSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueSum:
        """Add the keys' and values' outer products."""
        total = hide(_features(k), key_padding_mask).mT @ with_ones(v)
        return KeyValueSum(total if state is None else state.total + total)

    def recall(self, q: Float[Tensor, "B H N E"], state: KeyValueSum) -> Float[Tensor, "B H N E"]:
        """Read the sum with the queries."""
        return normalise(_features(q) @ state.total)


def _features(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
    return taylor_features(F.layer_norm(x, x.shape[-1:], eps=1e-6))
