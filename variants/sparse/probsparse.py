"""Informer's ProbSparse attention: queries with peaked scores attend, the others average."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of


@register_variant(
    name="probsparse",
    family="sparse",
    patterns="ns nc",
    extended="nc",
    summary="softmax for the queries with the most peaked scores on sampled keys; the mean for "
    "the others",
    paper="Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting "
    "(Zhou et al.)",
    year=2020,
    arxiv="2012.07436",
    time="factor (N + M) log(N) d",
    memory="factor (N + M) log(N)",
    sees="chosen",
    budget="factor",
    fixed_length=True,
    published_defaults="factor 5 at lengths of 96 to 720; here 5",
    added="2026-11-21",
)
class ProbSparseAttention(MultiHeadAttention):
    r"""Softmax for the u queries of greatest :math:`m_t`, the mean of all values for the others.

    .. math:: x_{ts} = q_t \cdot k_s / \sqrt{E}, \quad
              m_t = \max_{s \in S} x_{ts} - \operatorname{mean}_{s \in S} x_{ts}, \quad
              u = \min(N, c \lceil \ln N \rceil), \quad |S| = \min(M, c \lceil \ln M \rceil)

    N and M count the unpadded tokens of a row. S is drawn once, at construction: a random order of
    all positions, of which each row takes its first. The paper draws anew in every pass, for every
    query apart, and ranks by the sum over S divided by M. Which queries attend depends on
    all of them, so that nothing here is causal: where the paper masks its decoder, the ranking
    still shows the future.
    """

    @dataclass(frozen=True)
    class Config:
        """factor is c: queries that attend, and keys sampled, per ln of the length."""

        factor: int = 5

        def __post_init__(self) -> None:
            if self.factor < 1:
                raise ValueError("factor must be at least 1")

    config: Config
    order: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.register_buffer("order", torch.randperm(self.max_length))

    def _most(self, length: int) -> int:
        """How many of `length` tokens are chosen."""
        return min(length, self.config.factor * max(1, math.ceil(math.log(max(length, 1)))))

    def _counts(self, absent: Bool[Tensor, "B 1 N"]) -> Int[Tensor, "B 1 1"]:
        """How many of each row's tokens are chosen."""
        tokens = (~absent).sum(dim=-1, keepdim=True)
        logarithm = tokens.clamp(min=1).double().log().ceil().clamp(min=1)
        return tokens.minimum(self.config.factor * logarithm.long())

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 where all keys are padding."""
        absent = padding_of(k, key_padding_mask)
        idle = torch.zeros_like(absent[..., :1]).expand(-1, -1, q.shape[2])
        q = q / self.head_width**0.5
        chosen, spare = self._choose(q, k, absent if not self.pattern.cross else idle, absent)

        tokens = (~absent).sum(dim=-1)[..., None, None].clamp(min=1)
        mean = v.masked_fill(absent[..., None], 0.0).sum(dim=2, keepdim=True) / tokens
        index = chosen[..., None].expand(-1, -1, -1, q.shape[3])
        attended = attend_visible(q.gather(2, index), k, v, absent[:, :, None])
        # Rows that padding makes shorter choose fewer; what is left over goes to a place past N.
        index = index.masked_fill(spare[..., None], q.shape[2])
        out = mean.expand(-1, -1, q.shape[2] + 1, -1).scatter(2, index, attended)
        return out[:, :, :-1]

    @torch.no_grad()
    def _choose(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        idle: Bool[Tensor, "B 1 N"],
        absent: Bool[Tensor, "B 1 M"],
    ) -> tuple[Int[Tensor, "B H u"], Bool[Tensor, "B 1 u"]]:
        """The queries that attend, and which of these a short row has too many."""
        # Positions count unpadded tokens, so that padding moves no token to another turn.
        rank = (~absent).cumsum(dim=-1) - 1
        turn = self.order[rank.clamp(min=0)].masked_fill(absent, self.max_length)
        sample = turn.topk(self._most(k.shape[2]), largest=False).indices  # (B, 1, U)
        sampled = self._counts(absent)
        missed = torch.arange(sample.shape[-1], device=q.device) >= sampled
        index = sample[..., None].expand(-1, q.shape[1], -1, q.shape[3])
        scores = q @ k.gather(2, index).mT
        mean = scores.masked_fill(missed[:, :, None], 0.0).sum(dim=-1) / sampled.clamp(min=1)
        peak = scores.masked_fill(missed[:, :, None], -torch.inf).amax(dim=-1) - mean
        best = peak.masked_fill(idle, -torch.inf).topk(self._most(q.shape[2]), dim=-1).indices
        return best, torch.arange(best.shape[-1], device=q.device) >= self._counts(idle)
