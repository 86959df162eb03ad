"""Static attention: learned weights over positions that do not depend on the input."""

from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry, MultiHeadAttention, read_decoding_context, read_source
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


class ValueCache(NamedTuple):
    """The decode state: values; queries and keys are the same for every input."""

    v: Float[Tensor, "B H M E"]


@register_variant(
    name="static",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="softmax attention with fixed random vectors per position as queries and keys",
    paper="Deconstructing Attention: Investigating Design Principles for Effective Language "
    "Modeling (Xue, Moosavi, Aletras)",
    year=2025,
    arxiv="2510.11602",
    padding="position",
    time="N^2 d",
    memory="N^2",
    state="M E",
    fixed_length=True,
    published_defaults="random vectors for 2,048 positions; here for max_length",
    added="2026-11-21",
)
class StaticAttention(MultiHeadAttention):
    r"""Compute queries and keys from the position alone.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s
              \left((W_q \epsilon_t) \cdot (W_k \epsilon_s) / \sqrt{E}\right) W_v x_s

    :math:`\epsilon_t` are standard normal vectors of the model's width, drawn at construction and
    kept in the state dict; V_t are the unpadded positions, in CS those up to t. This is RndEmbQK.
    The paper sends the random vectors through the layers below; an attention layer does not
    see those, so that here each layer has random vectors of its own.
    """

    places: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.register_buffer("places", torch.randn(self.max_length, self.dim))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the values by the map of the first N positions. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k = self._map(0, x.shape[1])
        mixed = self.attend(
            q, k, self.split_heads(self.value(x)), key_padding_mask=key_padding_mask
        )
        return self.output(self.merge_heads(mixed))

    def attend(
        self,
        q: Float[Tensor, "1 H N E"],
        k: Float[Tensor, "1 H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        scores = ((q / self.head_width**0.5) @ k.mT).expand(hidden.shape[0], -1, -1, -1)
        return masked_softmax(scores, hidden) @ v

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> ValueCache:
        """Return the empty cache. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return ValueCache(self.value.weight.new_zeros(batch, self.heads, 0, self.head_width))

    def step(
        self, x: Float[Tensor, "B D"], state: ValueCache
    ) -> tuple[Float[Tensor, "B D"], ValueCache]:
        """Append the token's value and mix by the next row of the map. See `Attention.step`."""
        v = torch.cat((state.v, self.split_heads(self.value(x[:, None]))), dim=2)
        q, k = self._map(v.shape[2] - 1, v.shape[2])
        return self.output(self.merge_heads(self.attend(q, k, v)))[:, 0], ValueCache(v)

    def _map(
        self, first: int, last: int
    ) -> tuple[Float[Tensor, "1 H N E"], Float[Tensor, "1 H M E"]]:
        """Return queries of the positions from `first` to `last`, and keys of all up to there."""
        places = self.places[None, :last]
        return self.split_heads(self.query(places[:, first:])), self.split_heads(self.key(places))
