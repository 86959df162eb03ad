"""Efficient attention of Hosseini: only queries are projected."""

from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, read_decoding_context
from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


class TokenCache(NamedTuple):
    """The decode state: the tokens themselves, which are keys and values at once."""

    tokens: Float[Tensor, "B H M E"]
    key_padding_mask: Bool[Tensor, "B M"]


@register_variant(
    name="efficient-kq",
    family="softmax",
    patterns="ns cs nc cc",
    extended="nc",
    summary="softmax attention whose keys and values are slices of the input, without projections",
    paper="You Need to Pay Better Attention: Rethinking the Mathematics of Attention Mechanism "
    "(Hosseini, Hosseini)",
    year=2024,
    arxiv="2403.01643",
    time="N M d",
    memory="N M",
    state="M E",
    published_defaults="no hyper-parameters",
    added="2026-11-21",
)
class EfficientKeyAttention(DecodingAttention):
    r"""Take the h-th slice of the input, E wide, as keys and values of head h.

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot z_s^h / \sqrt{E}) z_s^h

    z is the stream (self) or the context (cross); V_t are its unpadded positions, up to t in CS.
    Of the two maps between a query's and a key's token one is enough, and so after the weights:
    softmax attention with W_k = W_v = 1 is this. It has half of the parameters, and a decoder
    keeps one vector for each token instead of two.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.key, self.value = nn.Identity(), nn.Identity()

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> TokenCache:
        """Return the state before the first token. See `Attention.initial_state`."""
        context = read_decoding_context(self.pattern, context, key_padding_mask)
        if context is None:
            context = self.query.weight.new_zeros(batch, 0, self.dim)
        tokens = self.split_heads(context)
        return self.absorb(None, tokens, tokens, key_padding_mask)

    def absorb(
        self,
        state: TokenCache | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> TokenCache:
        """Append to the cache; k and v are the same."""
        if key_padding_mask is None:
            key_padding_mask = k.new_zeros(k.shape[0], k.shape[2], dtype=torch.bool)
        if state is None:
            return TokenCache(k, key_padding_mask)
        return TokenCache(
            torch.cat((state.tokens, k), dim=2),
            torch.cat((state.key_padding_mask, key_padding_mask), dim=1),
        )

    def recall(self, q: Float[Tensor, "B H 1 E"], state: TokenCache) -> Float[Tensor, "B H 1 E"]:
        """Attend to the whole cache."""
        return self.attend(q, state.tokens, state.tokens, key_padding_mask=state.key_padding_mask)
