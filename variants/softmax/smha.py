"""Selective multi-head attention: each token takes part in the heads that it chooses."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_decoding_context, read_source
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


class RoutedCache(NamedTuple):
    """The decode state: all keys and values, and which heads they take part in."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    member: Bool[Tensor, "B H M"]


@register_variant(
    name="smha",
    family="softmax",
    patterns="ns cs",
    summary="softmax attention in which each head attends among the tokens that have chosen it",
    paper="Union of Experts: Adapting Hierarchical Routing to Equivalently Decomposed Transformer "
    "(Yang et al.)",
    year=2025,
    arxiv="2503.02495",
    time="N^2 d",
    memory="N^2 H",
    state="2 M E",
    sees="chosen",
    published_defaults="half of the heads for each token in language models; the same here",
    added="2026-11-30",
)
class SelectiveMultiHeadAttention(MultiHeadAttention):
    r"""Let each token choose heads, in which it is a query and a key; elsewhere it is absent.

    .. math:: y_t = \sum_{h \in T_t} H p_{th} W_o^h \sum_{s \in V_t : h \in T_s}
              \mathrm{softmax}_s(q_t^h \cdot k_s^h / \sqrt{E}) v_s^h, \quad
              p_t = \mathrm{softmax}(W_r x_t), \quad T_t = \mathrm{TopK}(p_t)

    K = active H, rounded down, but at least 1. V_t are the unpadded tokens; in CS those up to t,
    and as each token chooses for itself, the choice does not look ahead. In `moh` tokens choose
    where to be queries only. In the authors' code the router's weights order the tokens and do
    not enter the output, so that the task does not train them; here they weigh the heads, by
    H p, which is 1 for an even router. One head is softmax attention with weight 1.

    Where the paper gathers the tokens of each head, here all N^2 pairs are computed and hidden:
    work is that of softmax attention, of which gathering would save the part (1 - K^2 / H^2). The
    paper's other routing, of whole inputs to heads, is left out.
    """

    @dataclass(frozen=True)
    class Config:
        """active: K as a part of the heads."""

        active: float = 0.5

        def __post_init__(self) -> None:
            if not 0 < self.active <= 1:
                raise ValueError("active must be above 0 and at most 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.chosen = max(1, int(self.config.active * self.heads))
        self.router = nn.Linear(self.dim, self.heads, bias=False) if self.heads > 1 else None

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Choose heads, attend within them, add. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        return self._extend(x, self._empty(x.shape[0]), key_padding_mask)[0]

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RoutedCache:
        """Return the empty cache. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return self._empty(batch)

    def step(
        self, x: Float[Tensor, "B D"], state: RoutedCache
    ) -> tuple[Float[Tensor, "B D"], RoutedCache]:
        """Append the token and answer it. See `Attention.step`."""
        y, state = self._extend(x[:, None], state, None)
        return y[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: RoutedCache
    ) -> tuple[Float[Tensor, "B N D"], RoutedCache]:
        """Append several tokens and answer them. See `Attention.prefill`."""
        return self._extend(x, state, None) if x.shape[1] else (x, state)

    def _empty(self, batch: int) -> RoutedCache:
        nothing = self.key.weight.new_zeros(batch, self.heads, 0, self.head_width)
        return RoutedCache(nothing, nothing, nothing[..., 0].bool())

    def _extend(
        self,
        x: Float[Tensor, "B N D"],
        state: RoutedCache,
        key_padding_mask: Bool[Tensor, "B N"] | None,
    ) -> tuple[Float[Tensor, "B N D"], RoutedCache]:
        """Return the outputs of the newest tokens, and the cache with them."""
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        weights, member = self._route(x)
        if key_padding_mask is not None:
            member = member & ~key_padding_mask[:, None]
        state = RoutedCache(
            torch.cat((state.k.to(k.dtype), k), dim=2),
            torch.cat((state.v.to(v.dtype), v), dim=2),
            torch.cat((state.member, member), dim=2),
        )
        hidden = hidden_pairs(q, state.k, causal=self.pattern.causal)
        hidden = hidden | ~state.member[:, :, None] | ~member[..., None]
        scores = (q / self.head_width**0.5) @ state.k.mT
        mixed = (masked_softmax(scores, hidden) @ state.v) * weights[..., None]
        return self.output(self.merge_heads(mixed)), state

    def _route(
        self, x: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B H N"], Bool[Tensor, "B H N"]]:
        """Return H p and the chosen heads of each token."""
        if self.router is None:
            weights = x.new_ones(x.shape[0], 1, x.shape[1])
            return weights, weights.bool()
        shares = self.router(x).softmax(dim=-1)
        best = shares.topk(self.chosen, dim=-1).indices
        member = torch.zeros_like(shares, dtype=torch.bool).scatter(-1, best, True)
        return self.heads * shares.mT, member.mT
