"""Shared parts of causal mechanisms that select earlier blocks or tokens for each query.

Dimensions: B batch, H heads, G heads of keys, N queries (the last of M tokens), E head width, n
blocks of b tokens, c blocks or tokens that a query selects, D model width.
"""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.variants.sparse._blocks import cut, join
from cab.variants.sparse._by_label import Part, attend_to_chosen, attend_to_part, join_parts

Kept = tuple[Tensor, ...]
"""What a mechanism keeps of every token, each (B, G, M, E): its decode state."""


class SelectedAttention(Attention):
    """A causal mechanism that answers the last queries from what it keeps of all tokens."""

    def keep(self, x: Float[Tensor, "B M D"]) -> Kept:
        """Return what is kept of each token; it depends on no other token."""
        raise NotImplementedError

    def answer(
        self, x: Float[Tensor, "B N D"], kept: Kept, absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B N D"]:
        """Answer the tokens of x, the last N of the M that are kept."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Keep the whole sequence and answer all of it."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        absent = _none_absent(x, x.shape[1])
        if key_padding_mask is not None:
            absent = key_padding_mask[:, None]
        return self.answer(x, self.keep(x), absent)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Kept:
        """Return the state before the first token: nothing is kept."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return self.keep(next(self.parameters()).new_zeros(batch, 0, self.dim))

    def step(self, x: Float[Tensor, "B D"], state: Kept) -> tuple[Float[Tensor, "B D"], Kept]:
        """Keep one token more and answer it. See `Attention.step`."""
        out, state = self.prefill(x[:, None], state)
        return out[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: Kept
    ) -> tuple[Float[Tensor, "B N D"], Kept]:
        """Keep several tokens more and answer them. See `Attention.prefill`."""
        state = tuple(
            torch.cat((old, new), dim=2) for old, new in zip(state, self.keep(x), strict=True)
        )
        if not x.shape[1]:
            return x, state
        return self.answer(x, state, _none_absent(x, state[0].shape[2])), state

    def split(self, x: Float[Tensor, "B N C"], heads: int) -> Float[Tensor, "B G N E"]:
        """Cut channels into a number of heads."""
        return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(1, 2)


class IndexedAttention(SelectedAttention):
    """Softmax attention's projections, and those of an indexer that reads the stream detached.

    The Config of a subclass has `index_width`.
    """

    def __init__(self, config: Any, index_heads: int, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = self.config.index_width
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        self.index_query = nn.Linear(self.dim, index_heads * width, bias=False)
        self.index_key = nn.Linear(self.dim, width, bias=False)

    def keep(self, x: Float[Tensor, "B M D"]) -> Kept:
        """Return keys, values and index keys."""
        k, v = self.split(self.key(x), self.heads), self.split(self.value(x), self.heads)
        return k, v, self.index_key(x.detach())[:, None]


def _none_absent(x: Tensor, tokens: int) -> Bool[Tensor, "B 1 M"]:
    return torch.zeros(x.shape[0], 1, tokens, dtype=torch.bool, device=x.device)


def of_queries(queries: int, tokens: int, device: torch.device) -> Int[Tensor, " N"]:
    """Return the positions of the last `queries` of so many tokens."""
    return torch.arange(tokens - queries, tokens, device=device)


def choose_blocks(
    scores: Float[Tensor, "B G N n"], closed: Bool[Tensor, "..."], count: int
) -> Int[Tensor, "B G N c"]:
    """Return the blocks with the highest scores of those not closed; n where there is none.

    Of equal scores, such as those of a pooled key that two blocks share, the first block's counts.
    """
    open_ = scores.masked_fill(closed, -torch.inf)
    best = open_.sort(dim=-1, descending=True, stable=True)
    none = best.values[..., :count] == -torch.inf
    return best.indices[..., :count].masked_fill(none, scores.shape[-1])


def hide_all_but_best(
    scores: Float[Tensor, "B 1 N m"], hidden: Bool[Tensor, "..."], count: int
) -> Bool[Tensor, "B 1 N m"]:
    """Hide all but the `count` highest scores; of equal ones the last keys are kept.

    Scores of rectified products are often equal: all are 0 that match no head.
    """
    backwards = scores.masked_fill(hidden, -torch.inf).flip(-1)
    order = backwards.sort(dim=-1, descending=True, stable=True).indices[..., :count]
    chosen = torch.zeros_like(backwards, dtype=torch.bool).scatter(-1, order, True)
    return hidden | ~chosen.flip(-1)


def index_scores(
    queries: Float[Tensor, "B J N W"],
    weights: Float[Tensor, "B N J"],
    keys: Float[Tensor, "B 1 m W"],
) -> Float[Tensor, "B 1 N m"]:
    """Return the sum over index heads j of w_tj ReLU(q_tj . k_s), over the root of J W."""
    scale = (queries.shape[1] * queries.shape[-1]) ** 0.5
    return (weights.mT[..., None] / scale * (queries @ keys.mT).relu()).sum(dim=1, keepdim=True)


def attend_to_blocks(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H M E"],
    v: Float[Tensor, "B H M E"],
    absent: Bool[Tensor, "B 1 M"],
    choice: Int[Tensor, "B H N c"],
    block: int,
) -> Float[Tensor, "B H N E"]:
    """One softmax over a scaled query's own block, up to itself, and the blocks that it chose."""
    queries, tokens = q.shape[2], k.shape[2]
    start = (tokens - queries) // block * block  # where the first query's block begins
    lead = tokens - queries - start
    keys, values = cut(k, 2, block), cut(v, 2, block)
    gone = cut(absent, 2, block, fill=True)
    later = torch.ones(block, block, dtype=torch.bool, device=q.device).triu(1)
    hidden = gone[:, :, start // block :, None] | later
    scores = cut(F.pad(q, (0, 0, lead, 0)), 2, block) @ keys[:, :, start // block :].mT
    own = attend_to_part(scores, hidden, values[:, :, start // block :])
    parts = [Part(*(join(x, 2, lead + queries)[:, :, lead:] for x in own))]
    parts += [attend_to_chosen(q, keys, values, gone, one) for one in choice.unbind(-1)]
    return join_parts(parts)


def divergence(
    weights: Float[Tensor, "B H N m"],
    scores: Float[Tensor, "B G N m"],
    hidden: Bool[Tensor, "..."],
    silent: Bool[Tensor, "B 1 N"],
) -> Float[Tensor, ""]:
    """Mean over queries of KL(weights || softmax(scores)), the loss of an indexer.

    Args:
        weights: the distribution to learn, without a gradient; of G = 1 it is averaged over H.
        scores: what the indexer gives the same keys.
        hidden: keys that take no part.
        silent: queries that take no part, such as padding.
    """
    wanted = weights.detach().mean(dim=1, keepdim=True) if scores.shape[1] == 1 else weights
    wanted = wanted.detach()
    found = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).log_softmax(dim=-1)
    each = wanted * (wanted.clamp(min=torch.finfo(wanted.dtype).tiny).log() - found)
    each = each.masked_fill(hidden, 0.0).sum(dim=-1).masked_fill(silent, 0.0)
    return each.sum() / ((~silent).sum().clamp(min=1) * each.shape[1])
