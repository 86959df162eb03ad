"""Approximate attention: the second-order Taylor series of softmax weights, in linear time."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.registry import register_variant
from cab.variants.linear._features import hide, normalise, taylor_features, with_ones


class TaylorSum(NamedTuple):
    """The decode state: sum of phi(k) [v, 1]^T, with (E + 1) (E + 2) / 2 features."""

    total: Float[Tensor, "B H J F"]


@register_variant(
    name="approximate",
    family="linear",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="linear attention whose weights are the second-order Taylor series of softmax's",
    paper="Deconstructing Attention: Investigating Design Principles for Effective Language "
    "Modeling (Xue, Moosavi, Aletras)",
    year=2025,
    arxiv="2510.11602",
    time="N E^2 d",
    memory="N E^2 H",
    state="(E + 1) (E + 2) / 2 (E + 1)",
    published_defaults="a Taylor series up to the second order; the same here",
    added="2026-11-30",
)
class ApproximateAttention(DecodingAttention):
    r"""Replace the exponential by its Taylor series up to the second order.

    .. math:: o_t = \frac{\sum_{s \in V_t} w_{ts} v_s}{\sum_{s \in V_t} w_{ts}}, \quad
              w_{ts} = 1 + u_{ts} + \tfrac12 u_{ts}^2, \quad u_{ts} = q_t \cdot k_s / \sqrt{E}

    V_t are the unpadded keys; in CS those up to t, summed in chunks. w is a product of features:
    1, the E components and their E (E + 1) / 2 products, so that work grows with N E^2 d, not
    N M d, and the state has (E + 1)^2 (E + 2) / 2 elements. w is at least 1/2, which spreads part
    of the weight over all keys. This is the paper's form that keeps the intention of softmax and
    relaxes its formula; `based` has it beside a window of softmax. The paper is causal.
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
        features = hide(self._features(k), key_padding_mask)
        if self.pattern.causal and not self.pattern.cross:
            sums = causal_linear_attention(
                self._features(q), features, with_ones(v), self.config.chunk
            )
            return normalise(sums)
        return normalise(self._features(q) @ (features.mT @ with_ones(v)))

    def absorb(
        self,
        state: TaylorSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> TaylorSum:
        """Add the outer products of the keys' features and the values."""
        total = in_float32(self._outer_products)(k, v, key_padding_mask)
        return TaylorSum(total if state is None else state.total + total)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: TaylorSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with one query."""
        return at_least_float32(self._read)(q, state.total)

    def _outer_products(
        self,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H J F"]:
        return hide(self._features(k), key_padding_mask).mT @ with_ones(v)

    def _read(
        self, q: Float[Tensor, "B H 1 E"], total: Float[Tensor, "B H J F"]
    ) -> Float[Tensor, "B H 1 E"]:
        return normalise(self._features(q) @ total)

    def _features(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        return taylor_features(x / self.head_width**0.25)
