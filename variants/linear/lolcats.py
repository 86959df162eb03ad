"""LoLCATs: softmax in a small window, learned softmax-like features before it."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys
from cab.variants.linear._near_and_far import NearAndFarAttention


@register_variant(
    name="lolcats",
    family="linear",
    patterns="cs",
    summary="softmax weights in a small window; learned linear attention for earlier tokens",
    paper="LoLCATs: On Low-Rank Linearizing of Large Language Models (Zhang et al.)",
    year=2024,
    arxiv="2410.10254",
    padding="distance",
    time="N (window + E) d",
    memory="N (window + E) H",
    state="2 window E + 2 E (E + 1)",
    budget="window",
    published_defaults="window 64, here 16, for short lengths; gamma starts at 0.1, as here; maps "
    "first trained on the outputs of a softmax network, here with all else",
    added="2026-11-21",
)
class LolcatsAttention(NearAndFarAttention):
    r"""Exponential weights for near keys, learned features for earlier ones, one normalisation.

    .. math:: w_{ts} = \begin{cases} \gamma \exp(q_t \cdot k_s / \sqrt{E} - c_t) & t - s < w \\
              \phi(q_t) \cdot \phi'(k_s) & \text{else} \end{cases}, \quad
              \phi(x) = [\mathrm{softmax}(W x), \mathrm{softmax}(-W x)]

    with :math:`c_t` the query's largest near score, a learned :math:`\gamma` per head between 0
    and 1, at first 0.1, and maps W of queries and of keys that start as identity matrices. The
    paper converts trained networks, and first trains W to give softmax's outputs. transfer adds
    that loss to a task's: the mean square difference from the outputs of exact softmax attention
    with the same queries, keys and values, which costs N^2 time in training.
    """

    @dataclass(frozen=True)
    class Config:
        """window: near keys, the query's own among them. transfer: weight of the loss."""

        window: int = 16
        transfer: float = 0.0

        def __post_init__(self) -> None:
            if self.window < 1 or self.transfer < 0:
                raise ValueError("window must be at least 1 and transfer at least 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query_map, self.key_map = (
            nn.Parameter(torch.eye(self.head_width).repeat(self.heads, 1, 1)) for _ in range(2)
        )
        self.mixing = nn.Parameter(torch.full((self.heads, 1, 1), 0.1).logit())

    def no_weight_decay(self) -> set[str]:
        """Name the gate between near and far keys, a number per head."""
        return {"mixing"}

    def query_features(self, q: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        """Return phi(q)."""
        return _features(q @ self.query_map.to(q.dtype).mT)

    def key_features(self, k: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H M J"]:
        """Return phi'(k)."""
        return _features(k @ self.key_map.to(k.dtype).mT)

    def weigh_near(
        self,
        scores: Float[Tensor, "*B N M"],
        near: Bool[Tensor, "*b N M"],
        has_far: Bool[Tensor, "*b N 1"],
    ) -> tuple[Float[Tensor, "*B N M"], Float[Tensor, "*B N 1"]]:
        """Return gamma exp(x - c), and 1."""
        lowest = torch.finfo(scores.dtype).min
        scores = (scores / self.head_width**0.5).masked_fill(~near, lowest)
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        gamma = self.mixing.sigmoid().to(scores.dtype)
        gamma = gamma if scores.dim() == 4 else gamma[:, None]  # in blocks, or one query
        return gamma * weights, torch.ones_like(scores[..., :1])

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing; in training remember the loss."""
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        if self.training and self.config.transfer:
            self.keep_auxiliary_loss(self._difference(q, k, v, key_padding_mask))
        return out

    def _difference(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        key_padding_mask: Bool[Tensor, "B N"] | None,
    ) -> Float[Tensor, ""]:
        """Compare with softmax attention; the maps and gamma alone learn from it."""
        q, k, v = q.detach(), k.detach(), v.detach()
        mixed = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        kept = ~padded_keys(k, key_padding_mask)
        order = torch.arange(k.shape[2], device=k.device)
        visible = (order <= order[:, None]) & kept[:, None, None, :]
        exact = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        # Rows of the batch count by their unpadded tokens; leading padding sees nothing.
        errors = (mixed - exact).square().masked_fill(~kept[:, None, :, None], 0.0)
        weight = self.config.transfer / (kept.sum().clamp(min=1) * self.dim)
        return weight * errors.sum()


def _features(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N F"]:
    return torch.cat((x.softmax(dim=-1), (-x).softmax(dim=-1)), dim=-1)
