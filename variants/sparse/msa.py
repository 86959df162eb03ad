"""MiniMax sparse attention: an indexer scores tokens, and each head reads the best blocks."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.sparse._blocks import weigh
from cab.variants.sparse._selected import (
    IndexedAttention,
    Kept,
    attend_to_blocks,
    choose_blocks,
    divergence,
    of_queries,
)

EVERY = 4
"""One of so many queries teaches the indexer."""


@register_variant(
    name="msa",
    family="sparse",
    patterns="cs",
    summary="softmax over the query's own block and those that hold the tokens an indexer ranks "
    "highest",
    paper="MiniMax Sparse Attention (Lai et al.)",
    year=2026,
    arxiv="2606.13392",
    padding="position",
    time="N (N + 2 top_k block) d",
    memory="N (N + 4 top_k block)",
    state="2 M E + index_width M / H",
    sees="chosen",
    budget="top_k",
    published_defaults="16 blocks of 128 tokens, an index query of width 128 for each group of "
    "heads; here 3 blocks of 8, as moba, and one of width 8 for each head",
    added="2026-11-30",
    used_by=(("MiniMax-M3", "https://arxiv.org/abs/2606.13392"),),
)
class MiniMaxSparseAttention(IndexedAttention):
    r"""Softmax over the tokens of up to k blocks :math:`I_b`, always including the query's own.

    .. math:: s^h_{ti} = q^{I,h}_t \cdot k^I_i / \sqrt{W}, \quad
              g^h_{tb} = \max_{i \in I_b} s^h_{ti}, \quad
              B^h_t = \{b(t)\} \cup \operatorname{top-}(k - 1)_{b < b(t)}\, g^h_{tb}

    .. math:: o^h_t = \sum_{i \in I_b,\ b \in B^h_t,\ i \le t}
              \mathrm{softmax}_i(q^h_t \cdot k^h_i / \sqrt{E}) v^h_i

    The index queries q^I of each head, and the index key k^I that all share, of width W, are
    projections of the stream. The choice has no gradient: the indexer, which reads the stream
    without passing a gradient on, learns from the auxiliary loss mean over t and h of
    KL(softmax_i(q_t . k_i / sqrt(E)) || softmax_i(s_ti)), over all i up to t. So that training
    costs about as much as the rest, every fourth query from the last on takes part in it. The
    paper's heads come in groups that share keys, values and the choice; here each head is a group.
    In its first steps the paper reads all blocks; here it never does.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens; top_k: blocks that a query reads, its own included; index_width: W;
        weight of the indexer's loss.
        """

        block: int = 8
        top_k: int = 3
        index_width: int = 8
        weight: float = 1.0

        def __post_init__(self) -> None:
            if min(self.block, self.top_k, self.index_width) < 1 or self.weight < 0:
                raise ValueError(
                    "block, top_k and index_width must be at least 1, weight at least 0"
                )

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, geometry["heads"], **geometry)

    def answer(
        self, x: Float[Tensor, "B N D"], kept: Kept, absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B N D"]:
        """Return o, or 0 for a query that sees nothing; in training keep the indexer's loss."""
        (k, v, index_key), block = kept, self.config.block
        q = self.split(self.query(x), self.heads) / k.shape[-1] ** 0.5
        index_query = self.split(self.index_query(x.detach()), self.heads)
        index_query = index_query / self.config.index_width**0.5
        position = of_queries(q.shape[2], k.shape[2], x.device)
        if self.training:
            some = slice((q.shape[2] - 1) % EVERY, None, EVERY)
            later = torch.arange(k.shape[2], device=x.device) > position[some, None]
            hidden = absent[:, :, None] | later
            (teacher,) = weigh((q[:, :, some].detach() @ k.detach().mT, hidden))
            silent = absent[:, :, position[some]] | hidden.all(dim=-1)
            loss = divergence(teacher, index_query[:, :, some] @ index_key.mT, hidden, silent)
            self.keep_auxiliary_loss(self.config.weight * loss)
        choice = self._choose(index_query, index_key, absent, position // block)
        mixed = attend_to_blocks(q, k, v, absent, choice, block)
        return self.output(mixed.transpose(1, 2).flatten(-2))

    @torch.no_grad()
    def _choose(
        self,
        index_query: Float[Tensor, "B H N W"],
        index_key: Float[Tensor, "B 1 M W"],
        absent: Bool[Tensor, "B 1 M"],
        own: Int[Tensor, " N"],
    ) -> Int[Tensor, "B H N c"]:
        """The blocks that each query reads besides its own, by their best token."""
        index = (index_query @ index_key.mT).masked_fill(absent[:, :, None], -torch.inf)
        missing = -index.shape[-1] % self.config.block
        padded = F.pad(index, (0, missing), value=-torch.inf)
        best = padded.unflatten(-1, (-1, self.config.block)).amax(dim=-1)
        number = torch.arange(best.shape[-1], device=index.device)
        closed = number >= own[:, None]
        return choose_blocks(best, closed, self.config.top_k - 1)
