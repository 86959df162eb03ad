"""Mixture of block attention: each query reads its own block and the highest-scoring ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, cut, join, padding_of
from cab.variants.sparse._by_label import (
    Part,
    attend_to_chosen,
    attend_to_part,
    join_parts,
)


@register_variant(
    name="moba",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax over the query's own block and the blocks whose mean key scores highest",
    paper="MoBA: Mixture of Block Attention for Long-Context LLMs (Lu et al.)",
    year=2025,
    arxiv="2502.13189",
    padding="position",
    time="N (N / block + 12 top_k block) d",
    memory="N max(N / block, 4 top_k block)",
    state="2 M E",
    sees="chosen",
    budget="top_k",
    published_defaults="3 blocks of 512 tokens of 8,192, a sixteenth each; here 3 blocks of 8, "
    "a sixteenth of 128",
    added="2026-11-21",
    used_by=(("Kimi", "https://arxiv.org/abs/2502.13189"),),
)
class MoBAttention(CachedAttention):
    r"""Softmax over the tokens of k blocks :math:`I_b`, always including the query's own.

    .. math:: g_{tb} = q_t \cdot \operatorname{mean}_{s \in I_b} k_s, \quad
              B_t = \{b(t)\} \cup \operatorname{top-}(k - 1)_{b \ne b(t)} \, g_{tb}, \quad
              o_t = \sum_{s \in I_b,\ b \in B_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    In CS only blocks before t's own are liked, and its own is read up to t. The paper gives CS;
    in NS all blocks are liked. The choice has no gradient. Queries that chose the same block meet
    it together, one choice after the other, and the parts are joined by their weights. Only the
    gate looks at all N / block blocks from every query, once and without a backward pass, hence
    the constants in the card's formulas: it dominates from some thousand tokens on.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens. top_k: blocks that a query reads, its own included."""

        block: int = 8
        top_k: int = 3

        def __post_init__(self) -> None:
            if min(self.block, self.top_k) < 1:
                raise ValueError("block and top_k must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        length = q.shape[2]
        absent = padding_of(k, key_padding_mask)
        own = torch.arange(length, device=q.device) // self.config.block
        choice = self._choose(q, k, absent, own)
        q = q / self.head_width**0.5

        keys, values = (cut(x, 2, self.config.block) for x in (k, v))
        gone = cut(absent, 2, self.config.block, fill=True)  # (B, 1, n, b)
        hidden = gone[..., None, :]
        if self.pattern.causal:
            hidden = hidden | torch.ones_like(gone[0, 0, 0, :, None] & gone[0, 0, 0]).triu(1)
        local = attend_to_part(cut(q, 2, self.config.block) @ keys.mT, hidden, values)
        parts = [Part(*(join(x, 2, length) for x in local))]
        parts += [attend_to_chosen(q, keys, values, gone, block) for block in choice.unbind(-1)]
        return join_parts(parts)

    @torch.no_grad()
    def _choose(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        absent: Bool[Tensor, "B 1 M"],
        own: Int[Tensor, " N"],
    ) -> Int[Tensor, "B H N c"]:
        """The blocks that each query reads besides its own; their number n where there is none."""
        present = (~cut(absent, 2, self.config.block, fill=True)).to(k.dtype)
        sums = cut(k, 2, self.config.block).sum(dim=3)
        tokens = present.sum(dim=3)
        gate = q @ (sums / tokens.clamp(min=1)[..., None]).mT
        blocks = gate.shape[-1]
        block = torch.arange(blocks, device=q.device)
        closed = (block >= own[:, None]) if self.pattern.causal else (block == own[:, None])
        closed = closed | (tokens == 0)[:, :, None]
        gate = gate.masked_fill(closed, -torch.inf)
        best = gate.topk(min(self.config.top_k - 1, blocks), dim=-1)
        return best.indices.masked_fill(best.values == -torch.inf, blocks)

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the newest token's block and to the blocks that it chooses."""
        length = state.k.shape[2]
        block = torch.arange(length, device=q.device) // self.config.block
        own = block[-1:]
        absent = padding_of(state.k, state.key_padding_mask)
        choice = self._choose(q, state.k, absent, own)[:, :, 0]
        visible = (block == own) | (block == choice[..., None]).any(dim=2)
        return attend_visible(q / self.head_width**0.5, state.k, state.v, ~visible[:, :, None])
