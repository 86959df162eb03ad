"""Based: softmax weights for near tokens, their second-order Taylor series for earlier ones."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.linear._features import taylor_features
from cab.variants.linear._near_and_far import NearAndFarAttention


@register_variant(
    name="based",
    family="linear",
    patterns="cs",
    summary="in every layer softmax weights in a small window, and their second-order Taylor "
    "series for earlier tokens",
    paper="Simple linear attention language models balance the recall-throughput tradeoff "
    "(Arora et al.)",
    year=2024,
    arxiv="2402.18668",
    padding="distance",
    time="N (window + feature_width^2) d",
    memory="N (window + feature_width^2) H",
    state="window (min(feature_width, E) + E)"
    " + (min(feature_width, E) + 1) (min(feature_width, E) + 2) / 2 (E + 1)",
    budget="window",
    published_defaults="layers of Taylor linear attention with queries and keys of width 16, of "
    "softmax in windows of 64 to 256 and of gated convolutions, in turn; here both kinds of "
    "weights in every layer, under one normaliser, width 16 and window 16, and no gated "
    "convolutions",
    added="2026-11-21",
)
class BasedAttention(NearAndFarAttention):
    r"""Softmax weights for near keys, their Taylor series (linear attention) for earlier ones.

    .. math:: o_t = \frac{\sum_{s \le t} w_{ts} v_s}{\sum_{s \le t} w_{ts}}, \quad
              x_{ts} = q_t \cdot k_s / \sqrt{F}, \quad
              w_{ts} = \begin{cases} \exp(x_{ts}) & t - s < w \\
              1 + x_{ts} + x_{ts}^2 / 2 & \text{else} \end{cases}

    q and k are of the small width F, so that the state, whose features are 1, the F components
    and their F (F + 1) / 2 products, stays small. The paper has no such layer: its
    networks alternate between layers of Taylor linear attention, layers of softmax attention in a
    window, and gated convolutions. In this module both kinds of weights share a normaliser, so
    that a window as long as the sequence is softmax attention; a window of 1 is not the paper's
    linear layer, for the own token keeps its exponential. Every far weight is at least 1/2.
    """

    @dataclass(frozen=True)
    class Config:
        """window: near keys, the query's own among them. feature_width: F, at most E."""

        window: int = 16
        feature_width: int = 16

        def __post_init__(self) -> None:
            if min(self.window, self.feature_width) < 1:
                raise ValueError("window and feature_width must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.feature_width = min(self.config.feature_width, self.head_width)
        self.query, self.key = (
            nn.Linear(self.dim, self.heads * self.feature_width, bias=False) for _ in range(2)
        )

    def split_heads(self, x: Float[Tensor, "B N W"]) -> Float[Tensor, "B H N F"]:
        """Cut queries, keys (width F) or values (width E) into heads."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def query_features(self, q: Float[Tensor, "B H N F"]) -> Float[Tensor, "B H N J"]:
        """Return features whose products with those of a key are the series."""
        return taylor_features(q / self.feature_width**0.25)

    def key_features(self, k: Float[Tensor, "B H M F"]) -> Float[Tensor, "B H M J"]:
        """Return the same features."""
        return taylor_features(k / self.feature_width**0.25)

    def weigh_near(
        self,
        scores: Float[Tensor, "*B N M"],
        near: Bool[Tensor, "*b N M"],
        has_far: Bool[Tensor, "*b N 1"],
    ) -> tuple[Float[Tensor, "*B N M"], Float[Tensor, "*B N 1"]]:
        """Return exp(x - m) and exp(-m).

        m is the query's largest near score, and at least 0 where it has a far key, whose weight
        is near 1: it only keeps all sums in range.
        """
        lowest = torch.finfo(scores.dtype).min
        scores = (scores / self.feature_width**0.5).masked_fill(~near, lowest)
        largest = scores.detach().amax(dim=-1, keepdim=True)
        largest = torch.where(has_far, largest.clamp(min=0), largest)
        return (scores - largest).exp(), (-largest).exp().where(has_far, 0.0)
