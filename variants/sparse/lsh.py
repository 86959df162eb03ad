"""Reformer: tokens attend within the buckets of a locality-sensitive hash."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._by_label import (
    Groups,
    Part,
    attend_to_part,
    from_slots,
    join_parts,
    see,
    seen_by_last,
    sort_into_groups,
    to_slots,
    with_previous,
)


@register_variant(
    name="lsh",
    family="sparse",
    patterns="ns cs",
    extended="ns cs",
    summary="softmax within the buckets of a random-rotation hash; queries serve as keys",
    paper="Reformer: The Efficient Transformer (Kitaev, Kaiser, Levskaya)",
    year=2020,
    arxiv="2001.04451",
    time="rounds N chunk d",
    memory="rounds N chunk",
    state="2 M E",
    sees="chosen",
    published_defaults="1 to 8 rounds, chunks of 64 tokens, twice the mean size of a bucket; "
    "here 2 rounds and chunks of 16, twice the mean size of 16 buckets at 128 tokens; each bucket "
    "begins a chunk, which the paper's do not, and rotations are drawn once",
    added="2026-11-21",
)
class LSHAttention(CachedAttention):
    r"""Softmax over the tokens of a bucket, :math:`k_s = \sqrt{E} q_s / \lVert q_s \rVert`.

    .. math:: h_r(x) = \arg\max [x R_r ; -x R_r], \quad
              o_t = \sum_{s \in \cup_r P^r_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    Each bucket's tokens, in order, are cut into chunks of m; :math:`P^r_t` are the tokens of t's
    bucket :math:`h_r` that stand in its chunk or in the one before, t itself left out unless it is
    alone (and in CS those up to t). Rounds are attended apart and joined by their weights; a key
    that c rounds see has log c taken off its score, so that the sum is a softmax over the union.

    The paper chunks the whole sorted sequence, so that where a chunk begins depends on how many
    later tokens fall into lower buckets: a leak. Here every bucket begins a chunk. Its rotations
    are drawn anew each step and its buckets grow with the length; here both are fixed at
    construction.
    """

    @dataclass(frozen=True)
    class Config:
        """rounds: hashes. buckets: of each hash. chunk: tokens of a bucket that meet at once."""

        rounds: int = 2
        buckets: int = 16
        chunk: int = 16

        def __post_init__(self) -> None:
            if min(self.rounds, self.buckets, self.chunk) < 1:
                raise ValueError("rounds, buckets and chunk must be at least 1")

    config: Config
    rotations: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.key = self.query
        columns = (self.config.buckets + 1) // 2
        shape = self.heads, self.config.rounds, self.head_width, columns
        self.register_buffer("rotations", torch.randn(shape))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. k are the queries once more; padding has a bucket of its own."""
        chunk = min(self.config.chunk, k.shape[2])
        labels = self._hash(k)
        if key_padding_mask is not None:
            labels = labels.masked_fill(key_padding_mask[:, None, None], self.config.buckets)
        rounds = [
            sort_into_groups(label, self.config.buckets + 1, chunk) for label in labels.unbind(2)
        ]
        homes = torch.stack([groups.home for groups in rounds], dim=3)
        q, k = q / self.head_width**0.5, _unit(k)
        return join_parts(
            [self._attend_round(q, k, v, homes, r, groups) for r, groups in enumerate(rounds)]
        )

    def _attend_round(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        homes: Int[Tensor, "B H N R"],
        number: int,
        groups: Groups,
    ) -> Part:
        queries, query_homes = to_slots(q, groups), to_slots(homes, groups)
        keys, values, key_homes = (with_previous(to_slots(x, groups)) for x in (k, v, homes))
        visible = [
            see(here, there)
            for here, there in zip(query_homes.unbind(-1), key_homes.unbind(-1), strict=True)
        ]
        t = groups.token[..., None]
        s = with_previous(t, fill=k.shape[2]).mT
        hidden = ~visible[number] | (s == k.shape[2])
        if self.pattern.causal:
            hidden = hidden | (s > t)
        times = sum(visible, torch.zeros_like(s)).clamp(min=1)
        scores = queries @ keys.mT - times.to(q.dtype).log()
        # Its own key only if there is no other: far below any score, yet above what is hidden.
        scores = scores.masked_fill(s == t, torch.finfo(scores.dtype).min / 2)
        part = attend_to_part(scores, hidden, values)
        return Part(*(from_slots(x, groups) for x in part))

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the cached tokens of the newest token's chunks."""
        visible = seen_by_last(self._hash(state.k), self.config.chunk).any(dim=2)
        alone = visible.sum(dim=-1, keepdim=True) == 1
        visible[..., -1:] = alone
        return attend_visible(
            q / self.head_width**0.5, _unit(state.k), state.v, ~visible[:, :, None]
        )

    @torch.no_grad()
    def _hash(self, x: Float[Tensor, "B H N E"]) -> Int[Tensor, "B H R N"]:
        rotated = x[:, :, None] @ self.rotations
        both = torch.cat((rotated, -rotated), dim=-1)[..., : self.config.buckets]
        return both.argmax(dim=-1)


def _unit(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    """Scale each key to length sqrt(E)."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)
