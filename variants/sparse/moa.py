"""Mixture of attention spans: each head has a window of its own, which grows with the length."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of
from cab.variants.sparse._first import attend_near_and_first


@register_variant(
    name="moa",
    family="sparse",
    patterns="cs",
    summary="causal softmax over the first tokens and a window whose length differs between heads",
    paper="MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression "
    "(Fu et al.)",
    year=2024,
    arxiv="2406.14909",
    padding="position",
    time="N (sinks + base + reach N) d",
    memory="N (sinks + base + reach N)",
    state="2 M E",
    sees="s < sinks or t - s < base + reach N",
    budget="base",
    fixed_length=True,
    published_defaults="64 sinks, spans chosen per head with a mean of half of 4,096 to 12,288 "
    "tokens; here 4 sinks and spans of 4 tokens plus up to a quarter of the longest sequence of "
    "training, the same for all inputs",
    added="2026-11-21",
)
class MoAttention(CachedAttention):
    r"""Softmax over :math:`V^h_t = \{s \le t : t - s < S_h\ \text{or}\ s < g\}`, g sinks.

    .. math:: S_h = \alpha + \beta_h L, \quad \beta_h = \beta\, h / H, \quad
              o^h_t = \sum_{s \in V^h_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    for heads h from 1 to H and the longest sequence L of training. In the paper L is the length of
    each input; a causal answer must not depend on how many tokens follow, so here it is fixed. The
    paper finds the rule of every head by profiling a trained model, where cutting a head's span
    would cost least; a model trained from the beginning has nothing to profile, so here the rules
    are spread evenly. The state keeps all keys, of which the paper drops those beyond each head's
    span.
    """

    @dataclass(frozen=True)
    class Config:
        """base is alpha, reach beta, sinks g."""

        base: int = 4
        reach: float = 0.25
        sinks: int = 4

        def __post_init__(self) -> None:
            if min(self.base, self.sinks) < 1 or not 0 <= self.reach <= 1:
                raise ValueError("base and sinks must be at least 1, reach between 0 and 1")

    config: Config

    @property
    def spans(self) -> list[int]:
        """The span of each head, in tokens."""
        length = self.train_length
        shares = [(h + 1) / self.heads for h in range(self.heads)]
        return [math.ceil(self.config.base + self.config.reach * length * s) for s in shares]

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        self._check_length(k.shape[2])
        absent, q = padding_of(k, key_padding_mask), q / self.head_width**0.5
        heads = [
            attend_near_and_first(
                *(x[:, h : h + 1] for x in (q, k, v)), absent, span, self.config.sinks, causal=True
            )
            for h, span in enumerate(self.spans)
        ]
        return torch.cat(heads, dim=1)

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the cached keys that each head still reads."""
        self._check_length(state.k.shape[2])
        s = torch.arange(state.k.shape[2], device=q.device)
        spans = torch.tensor(self.spans, device=q.device)[:, None, None]
        hidden = (s[-1] - s >= spans) & (s >= self.config.sinks)
        return attend_visible(q / self.head_width**0.5, state.k, state.v, hidden)

    def _check_length(self, tokens: int) -> None:
        if tokens > self.max_length:
            raise ValueError(
                f"moa was built for max_length = {self.max_length} tokens and met {tokens}: its "
                f"spans grow with that length. Build it with a larger max_length."
            )
