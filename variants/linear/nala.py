"""NaLaFormer: linear attention that becomes more peaked as the query grows."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import normalise, with_ones


class KeyValueSum(NamedTuple):
    """The decode state: the sum of key features times [v, 1]^T."""

    total: Float[Tensor, "B H F V"]


@register_variant(
    name="nala",
    family="linear",
    patterns="ns cs",
    extended="cs",
    summary="linear attention on query directions raised to a power that grows with the query's "
    "norm",
    paper="NaLaFormer: Norm-Aware Linear Attention for Transformer Models (Meng et al.)",
    year=2025,
    arxiv="2506.21137",
    time="N d^2",
    memory="N d",
    state="2 E (E + 1)",
    published_defaults="power 3; the same here",
    added="2026-11-21",
)
class NalaAttention(DecodingAttention):
    r"""Weigh values by norm-aware features of direction, which are never negative.

    .. math:: \phi_q(q) = |q / \|q\||^{p(\|q\|)} \odot [\cos\theta_q; \sin\theta_q], \quad
              \phi_k(k) = |k|^\lambda \odot [\cos\theta_k; \sin\theta_k], \quad
              p(x) = \lambda (1/2 + \tanh x)

    Normalisation cancels the query's norm, so it enters as a power: the longer the query, the
    more its largest components outweigh the rest. As in the authors' code an angle is 0 for a
    positive component and pi / 2 for a negative one: :math:`\cos(\theta_q - \theta_k)` keeps
    products of equal signs and drops the others. The output gate and the layer norm before
    it, rotary positions and the local convolution of their network are left out. The paper's later
    versions are titled "Norm x Direction: Restoring the Missing Query Norm in Vision Linear
    Attention".
    """

    @dataclass(frozen=True)
    class Config:
        """power: lambda. chunk: tokens per chunk of the causal form; it changes the cost only."""

        power: float = 3.0
        chunk: int = 64

        def __post_init__(self) -> None:
            if self.power < 2:
                raise ValueError("power must be at least 2, for features with a derivative")
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
        """Return o, or 0 for a query that has no sign in common with what it sees."""
        return at_least_float32(self._attend)(q, k, v)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
    ) -> Float[Tensor, "B H N E"]:
        # A padded key is 0, and so are its features.
        queries, keys, values = self._query_features(q), self._key_features(k), with_ones(v)
        if self.pattern.causal:
            sums = causal_linear_attention(queries, keys, values, self.config.chunk)
        else:
            sums = queries @ (keys.mT @ values)
        return normalise(sums)

    def absorb(
        self,
        state: KeyValueSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueSum:
        """Add the keys' and values' outer products."""
        total = self._key_features(k).mT @ with_ones(v)
        return KeyValueSum(total if state is None else state.total + total)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: KeyValueSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with one query."""
        return normalise(self._query_features(q) @ state.total)

    def _query_features(self, q: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N F"]:
        norm = torch.linalg.vector_norm(q, dim=-1, keepdim=True)
        direction = q / norm.masked_fill(norm == 0, 1.0)
        parts, power = _by_sign(direction), self.config.power * (0.5 + norm.tanh())
        # The second derivative of 0 to a power that learns would be NaN.
        empty = parts == 0
        return parts.masked_fill(empty, 1.0).pow(power).masked_fill(empty, 0.0)

    def _key_features(self, k: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N F"]:
        return _by_sign(k).pow(self.config.power)


def _by_sign(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N F"]:
    """Return |x| cos theta and |x| sin theta."""
    return torch.cat((x.relu(), (-x).relu()), dim=-1)
