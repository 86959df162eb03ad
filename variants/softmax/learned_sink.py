"""Softmax attention with learned sinks: additional keys whose values are zero."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="learned-sink",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="softmax attention over the visible keys and learned keys whose values are zero",
    paper="When Attention Sink Emerges in Language Models: An Empirical View (Gu et al.)",
    year=2024,
    arxiv="2410.10781",
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="one learned key for each head, its value zero (K biases); the same here",
    added="2026-11-21",
    used_by=(
        (
            "gpt-oss",
            "https://docs.nvidia.com/nemo/megatron-bridge/nightly/models/llm/gpt-oss.html",
        ),
    ),
)
class LearnedSinkAttention(CachedAttention):
    r"""Add sinks :math:`\kappa_1, \ldots, \kappa_S`, learned for each head, to the denominator.

    .. math:: o_t = \sum_{s \in V_t} \frac{\exp(q_t \cdot k_s / \sqrt{E})}
              {\sum_j \exp(q_t \cdot \kappa_j / \sqrt{E}) +
              \sum_{u \in V_t} \exp(q_t \cdot k_u / \sqrt{E})} v_s

    V_t are the unpadded keys; in CS those at positions up to t. Trained models put weight that
    they have no use for on the first token ("Why do LLMs attend to the first token?", Barbero et
    al., 2025, arXiv 2504.02732); sinks with a value of zero leave that token free. They start at
    0: one more in the denominator.
    """

    @dataclass(frozen=True)
    class Config:
        """sinks: learned keys for each head."""

        sinks: int = 1

        def __post_init__(self) -> None:
            if self.sinks < 1:
                raise ValueError("sinks must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.sinks = nn.Parameter(torch.zeros(self.heads, self.config.sinks, self.head_width))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        q, sinks = q / self.head_width**0.5, self.config.sinks
        scores = torch.cat((q @ self.sinks.mT, q @ k.mT), dim=-1)
        weights = masked_softmax(scores, nn.functional.pad(hidden, (sinks, 0)))
        return weights[..., sinks:] @ v
