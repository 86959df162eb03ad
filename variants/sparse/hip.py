"""HiP attention: blocks of queries find their keys by a search through a tree."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, cut, join, padding_of


class Searched(NamedTuple):
    """The decode state: keys and values, and the query that chooses for the newest block."""

    cache: KeyValueCache
    asking: Float[Tensor, "B H 1 E"]


@register_variant(
    name="hip",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax over the key blocks that a tree search finds for each block of queries",
    paper="A Training-free Sub-quadratic Cost Transformer Model Serving Framework With "
    "Hierarchically Pruned Attention (Lee et al.)",
    year=2024,
    arxiv="2406.09827",
    padding="position",
    time="N top_k (key_block + log(N)) d",
    memory="N top_k key_block",
    state="2 M E + E",
    sees="chosen",
    budget="top_k",
    published_defaults="256 blocks of 2 keys, 512 tokens of 8,192 and more, for 32 queries; here "
    "8 blocks of 2 keys, 16 tokens, an eighth of 128, for 8 queries",
    added="2026-11-21",
)
class HiPAttention(CachedAttention):
    r"""Softmax over the K key blocks that a search finds for each block of queries.

    The search begins with K equal intervals of key blocks. Each is halved, each half is judged by

    .. math:: x = \max_{t \in A} q_t \cdot k_m, \quad m \text{ the first key of its middle block},

    and the best K of the 2 K halves go on, until all are single blocks: :math:`\log_2(N / K)`
    rounds. A are the block's queries. In CS a block of queries searches the key blocks before it
    and always reads itself; A is its first query alone, since the others would tell it of later
    tokens. While decoding, a block keeps what its first query chose (the paper refreshes its
    choice at intervals too). The choice has no gradient: the paper serves models that were trained
    with softmax attention; here they are trained with the search.
    """

    @dataclass(frozen=True)
    class Config:
        """query_block, a multiple of key_block: tokens. top_k: key blocks, K."""

        query_block: int = 8
        key_block: int = 2
        top_k: int = 8

        def __post_init__(self) -> None:
            if min(self.query_block, self.key_block, self.top_k) < 1:
                raise ValueError("query_block, key_block and top_k must be at least 1")
            if self.query_block % self.key_block:
                raise ValueError("query_block must be a multiple of key_block")

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
        rows, columns = self.config.query_block, self.config.key_block
        absent = padding_of(k, key_padding_mask)
        queries, idle = cut(q / self.head_width**0.5, 2, rows), cut(absent, 2, rows, fill=True)
        gone = cut(absent, 2, columns, fill=True)  # (B, 1, m, c)
        if self.pattern.causal:
            extent = torch.arange(queries.shape[2], device=q.device) * (rows // columns)
            asking = queries[:, :, :, :1], idle[..., :1]
        else:
            # All key blocks up to the last that holds a token.
            number = torch.arange(1, gone.shape[2] + 1, device=q.device)
            extent = (number * ~gone.all(dim=-1)).amax(dim=-1, keepdim=True)
            asking = queries, idle
        chosen, spare = self._search(*asking, k[:, :, ::columns], gone[..., 0], extent)

        keys, values = (_gather(cut(x, 2, columns), chosen) for x in (k, v))
        hidden = _gather(gone.expand(-1, q.shape[1], -1, -1), chosen) | spare[..., None]
        keys, values, hidden = keys.flatten(3, 4), values.flatten(3, 4), hidden.flatten(3, 4)
        hidden = hidden[..., None, :]
        if self.pattern.causal:
            keys, values = (
                torch.cat((far, cut(x, 2, rows)), dim=3) for far, x in ((keys, k), (values, v))
            )
            later = torch.ones(rows, rows, dtype=torch.bool, device=q.device).triu(1)
            own = (idle[..., None, :] | later).expand(-1, q.shape[1], -1, -1, -1)
            hidden = torch.cat((hidden.expand(*own.shape[:-1], -1), own), dim=-1)
        return join(attend_visible(queries, keys, values, hidden), 2, q.shape[2])

    @torch.no_grad()
    def _search(
        self,
        asking: Float[Tensor, "B H n a E"],
        idle: Bool[Tensor, "B 1 n a"],
        first: Float[Tensor, "B H m E"],
        padded: Bool[Tensor, "B 1 m"],
        extent: Int[Tensor, "..."],
    ) -> tuple[Int[Tensor, "B H n K"], Bool[Tensor, "B H n K"]]:
        """Return the key blocks that are chosen, and which of the K are none.

        asking are the queries that judge, idle those of them that are padding; first is the first
        key of each block, padded where that is padding; extent tells how many blocks to search.
        """
        top_k, lowest = self.config.top_k, torch.finfo(asking.dtype).min
        edges = extent[..., None] * torch.arange(top_k + 1, device=asking.device) // top_k
        edges = edges.expand(*asking.shape[:3], -1)
        low, high = edges[..., :-1], edges[..., 1:]
        longest = -(-first.shape[2] // top_k)
        while longest > 1:
            middle = (low + high + 1) // 2
            low, high = torch.cat((low, middle), dim=-1), torch.cat((middle, high), dim=-1)
            judged = ((low + high) // 2).clamp(max=first.shape[2] - 1)
            scores = asking @ _gather(first, judged).mT
            scores = scores.masked_fill(idle[..., None], lowest).amax(dim=-2)
            unknown = _gather(padded.expand(-1, asking.shape[1], -1), judged)
            scores = scores.masked_fill(unknown, lowest).masked_fill(low >= high, -torch.inf)
            best = scores.topk(top_k, dim=-1).indices
            low, high = low.gather(-1, best), high.gather(-1, best)
            longest = -(-longest // 2)
        return low.clamp(max=max(first.shape[2] - 1, 0)), low >= high

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Searched:
        """Return the state before the first token, which no query has asked yet."""
        cache = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        return Searched(cache, cache.k.new_zeros(*cache.k.shape[:2], 1, self.head_width))

    def step(
        self, x: Float[Tensor, "B D"], state: Searched
    ) -> tuple[Float[Tensor, "B D"], Searched]:
        """Answer one token with what the first query of its block chose."""
        q, k, v = (
            self.split_heads(project(x[:, None])) for project in (self.query, self.key, self.value)
        )
        q = q / self.head_width**0.5
        position = state.cache.k.shape[2]
        start = position - position % self.config.query_block
        state = Searched(self.absorb(state.cache, k, v), q if position == start else state.asking)
        visible = self._visible(state, start)
        out = attend_visible(q, state.cache.k, state.cache.v, ~visible[:, :, None])
        return self.output(self.merge_heads(out))[:, 0], state

    def _visible(self, state: Searched, start: int) -> Bool[Tensor, "B H M"]:
        """The chosen keys of those before `start`, and all from there on."""
        after = torch.ones_like(state.cache.k[:, :, start:, 0], dtype=torch.bool)
        first = state.cache.k[:, :, : start : self.config.key_block]
        if not start:
            return after
        nobody = torch.zeros_like(first[:, :1, :, 0], dtype=torch.bool)
        extent = torch.full((1,), first.shape[2], device=first.device)
        chosen, spare = self._search(
            state.asking[:, :, None], nobody[:, :, :1, None], first, nobody, extent
        )
        block = torch.arange(start, device=first.device) // self.config.key_block
        picked = chosen.masked_fill(spare, -1)[:, :, 0, :, None] == block
        return torch.cat((picked.any(dim=2), after), dim=-1)


def _gather(x: Shaped[Tensor, "B H m *c"], index: Int[Tensor, "B H n K"]) -> Tensor:
    """Take the entries of x at `index`, (B, H, n, K, *c)."""
    flat = index.flatten(2)
    flat = flat.reshape(*flat.shape, *(1,) * (x.ndim - 3)).expand(-1, -1, -1, *x.shape[3:])
    return x.gather(2, flat).unflatten(2, index.shape[2:])
