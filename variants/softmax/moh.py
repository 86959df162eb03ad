"""Mixture-of-head attention: shared heads, and heads that a router chooses."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, State, read_source
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="moh",
    family="softmax",
    patterns="ns cs nc cc",
    extended="nc cc",
    summary="softmax attention with heads as experts: shared heads, and heads chosen per token",
    paper="MoH: Multi-Head Attention as Mixture-of-Head Attention (Jin, Zhu, Yuan, Yan)",
    year=2024,
    arxiv="2410.11842",
    time="N M d",
    memory="N M",
    state="2 M E",
    sees="chosen",
    published_defaults="half of the heads shared, 3/4 active (MoH-LLaMA3-8B), balance 0.01; "
    "here a quarter shared, so that of 4 heads 2 are chosen and the router learns from the task",
    added="2026-11-21",
)
class MixtureOfHeadAttention(CachedAttention):
    r"""Weigh the heads by a router on the query's token x_t, which disables some of them.

    .. math:: y_t = \sum_h g_{th} W_o^h o_t^h, \quad
              g_{th} = \begin{cases} 2 \alpha_1 S \,\mathrm{softmax}(W_s x_t)_h & h \le S \\
              2 \alpha_2 K \,\mathrm{softmax}_{T_t}(W_r x_t)_h & h \in T_t \\
              0 & \text{otherwise} \end{cases}, \quad \alpha = \mathrm{softmax}(W_h x_t), \quad
              T_t = \mathrm{TopK}(W_r x_t)

    o are the heads of softmax attention, S shared and others routed, of which each token chooses
    K. The gates are those of the authors' code: the softmax of routed heads runs over the chosen
    ones alone, and the factors 2 S and 2 K make an even router weigh active heads by 1, so that
    all heads active are softmax attention. The paper's formula has neither: there routed gates are
    entries of the softmax over all routed heads. (The code of MoH-LLaMA3-8B has no learned gates.)
    With K = 1 the routed gate is :math:`2 \alpha_2`, and the router learns from the balance loss
    alone; with one head all is softmax attention, with two all heads are active. Where there is
    one candidate no router is needed.

    In training :math:`\sum_h P_h f_h` is added to the loss, with P_h the mean of
    :math:`\mathrm{softmax}(W_r x_t)_h` over tokens and f_h the share of tokens that choose h. All
    heads are computed and then weighed; leaving out the work would save a constant factor.
    """

    @dataclass(frozen=True)
    class Config:
        """shared, active: parts of all heads; of the routed ones at least one is active.

        balance: weight of the loss that evens out the choice.
        """

        shared: float = 0.25
        active: float = 0.75
        balance: float = 0.01

        def __post_init__(self) -> None:
            if not 0 <= self.shared <= self.active <= 1:
                raise ValueError("shared and active must hold 0 <= shared <= active <= 1")
            if self.balance < 0:
                raise ValueError("balance must be at least 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.shared = int(self.config.shared * self.heads)
        self.routed = self.heads - self.shared
        active = round(self.config.active * self.heads)
        self.chosen = min(max(active - self.shared, 1), self.routed)
        # One candidate needs no router: it would be a parameter that nothing trains.
        kinds = 2 if self.shared and self.routed else 1
        candidates = {"shared": self.shared, "routed": self.routed, "kind": kinds}
        self.routers = nn.ModuleDict(
            {name: nn.Linear(self.dim, n, bias=False) for name, n in candidates.items() if n > 1}
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend with every head, weigh the heads, project. See `Attention.forward`."""
        padded_queries = None if self.pattern.cross else key_padding_mask
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        heads = self.attend(
            self.split_heads(self.query(x)),
            self.split_heads(self.key(source)),
            self.split_heads(self.value(source)),
            key_padding_mask=key_padding_mask,
        )
        return self._weigh(heads, x, padded_queries)

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Read the token into the state (CS only), then answer it. See `Attention.step`."""
        token = x[:, None]
        if self.pattern == Pattern.CS:
            k, v = self.split_heads(self.key(token)), self.split_heads(self.value(token))
            state = self.absorb(state, k, v)
        heads = self.recall(self.split_heads(self.query(token)), state)
        return self._weigh(heads, token, None)[:, 0], state

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return the heads of softmax attention. In CS the queries are the last N of M."""
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )

    def _weigh(
        self,
        heads: Float[Tensor, "B H N E"],
        x: Float[Tensor, "B N D"],
        padded: Bool[Tensor, "B N"] | None,
    ) -> Float[Tensor, "B N D"]:
        """Return y; padded queries do not count in the balance."""
        shared = self._route("shared", x, self.shared)
        routed = self._route("routed", x, self.routed)
        shared_kind, routed_kind = (2 * self._route("kind", x, 2)).split(1, dim=-1)
        best = routed.topk(self.chosen, dim=-1).indices
        active = torch.zeros_like(routed).scatter(-1, best, 1.0)
        if self.training:
            self.keep_auxiliary_loss(self.config.balance * _imbalance(routed, active, padded))
        chosen = routed * active
        chosen = chosen / chosen.sum(dim=-1, keepdim=True)
        gates = torch.cat(
            (self.shared * shared_kind * shared, self.chosen * routed_kind * chosen), dim=-1
        )
        return self.output(self.merge_heads(heads * gates.mT[..., None]))

    def _route(
        self, router: str, x: Float[Tensor, "B N D"], candidates: int
    ) -> Float[Tensor, "B N R"]:
        """Return a distribution over candidates, the even one where there is no router."""
        if router in self.routers:
            return self.routers[router](x).softmax(dim=-1)
        return x.new_full((*x.shape[:2], candidates), 1 / max(1, candidates))


def _imbalance(
    probabilities: Float[Tensor, "B N R"],
    active: Float[Tensor, "B N R"],
    padded: Bool[Tensor, "B N"] | None,
) -> Float[Tensor, ""]:
    """Return the sum over heads of mean probability times share of tokens."""
    kept = active.new_ones(*active.shape[:2], 1)
    kept = kept if padded is None else kept.masked_fill(padded[..., None], 0.0)
    kept = kept / kept.sum().clamp(min=1)
    return ((probabilities * kept).sum(dim=(0, 1)) * (active * kept).sum(dim=(0, 1))).sum()
