"""BigBird: blocks that see their neighbours, the first blocks, and a few random ones."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, cut, join, padding_of, weigh


@register_variant(
    name="bigbird",
    family="sparse",
    patterns="ns cs",
    extended="cs",
    summary="softmax over neighbouring, global and random blocks",
    paper="Big Bird: Transformers for Longer Sequences (Zaheer et al.)",
    year=2020,
    arxiv="2007.14062",
    padding="position",
    time="N block (2 near_blocks + 1 + global_blocks + random_blocks) d",
    memory="N block (2 near_blocks + 1 + global_blocks + random_blocks)",
    state="2 M E",
    sees="chosen",
    budget="near_blocks",
    fixed_length=True,
    published_defaults="blocks of 64 tokens: 1 neighbour on each side, 2 global, 3 random, of 64 "
    "blocks, an eighth of them; here the same numbers of blocks of 2 tokens, an eighth of 128",
    added="2026-11-21",
)
class BigBirdAttention(CachedAttention):
    r"""Softmax over blocks of keys, the same for all queries of a block.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    With :math:`\beta(t) = \lfloor t / b \rfloor`, V_t holds s where :math:`|\beta(t) - \beta(s)|
    \le w`, or :math:`\beta(s) < g`, or :math:`\beta(t) < g`, or :math:`\beta(s) \in R_{\beta(t)}`;
    in CS also :math:`s \le t`. R are r blocks per block and head, neither near nor global, drawn
    at construction for `max_length` (in CS from the past) and kept in the state dict. Those
    beyond a shorter sequence's end are missed, so that padding changes nothing. The global blocks
    are the first ones ("internal"), not the first and last as in the authors' code, since where
    a sequence ends must not matter. The paper has no causal form.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens per block. near_blocks: w above. global_blocks: g. random_blocks: r."""

        block: int = 2
        near_blocks: int = 1
        global_blocks: int = 2
        random_blocks: int = 3

        def __post_init__(self) -> None:
            if self.block < 1:
                raise ValueError("block must be at least 1")
            if min(self.near_blocks, self.global_blocks, self.random_blocks) < 0:
                raise ValueError("numbers of blocks must not be negative")

    config: Config
    chosen: Int[Tensor, "H n r"]
    """The random blocks of each block; -1 where there are fewer than r to draw from."""

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        blocks = -(-self.max_length // self.config.block)
        drawn = [[self._draw(i, blocks) for i in range(blocks)] for _ in range(self.heads)]
        self.register_buffer("chosen", torch.stack([torch.stack(one) for one in drawn]))

    def _draw(self, i: int, blocks: int) -> Int[Tensor, " r"]:
        """Draw random blocks for block i, without replacement."""
        first, near = self.config.global_blocks, self.config.near_blocks
        earlier, later = max(0, i - near - first), max(first, i + near + 1)
        allowed = earlier + (0 if self.pattern.causal else max(0, blocks - later))
        drawn = torch.randperm(allowed)[: self.config.random_blocks]
        chosen = torch.full((self.config.random_blocks,), -1)
        chosen[: len(drawn)] = drawn + torch.where(drawn < earlier, first, later - earlier)
        return chosen

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        length, block, causal = q.shape[2], self.config.block, self.pattern.causal
        self._check_length(length)
        q, absent = q / self.head_width**0.5, padding_of(k, key_padding_mask)
        queries = cut(q, 2, block)
        blocks = queries.shape[2]
        first = self.config.global_blocks * block
        t = torch.arange(blocks * block, device=q.device).unflatten(0, (blocks, block, 1))

        before = min(self.config.near_blocks, blocks - 1) * block
        sides = before, 0 if causal else before
        near_keys, near_values = (cut(x, 2, block, *sides) for x in (k, v))
        s = t[:, :1] - before + torch.arange(near_keys.shape[3], device=q.device)
        hidden = cut(absent, 2, block, *sides, fill=True)[:, :, :, None] | (s < first)
        near = queries @ near_keys.mT, (hidden | (s > t)) if causal else hidden

        s = torch.arange(min(first, length), device=q.device)
        hidden = absent[:, :, None, None, :first]
        scores = cut(q @ k[:, :, :first].mT, 2, block)
        early = scores, (hidden | (s > t)) if causal else hidden

        # Whole blocks are gathered, one copy per block that reads them: r N E numbers.
        chosen = self.chosen[:, :blocks]
        head, there = torch.arange(self.heads, device=q.device)[:, None, None], chosen % blocks
        keys, values = (cut(x, 2, block)[:, head, there].flatten(3, 4) for x in (k, v))
        hidden = cut(absent, 2, block, fill=True)[:, 0, there]
        hidden = hidden | ((chosen < 0) | (chosen >= blocks))[..., None]
        far = queries @ keys.mT, hidden.flatten(3, 4)[:, :, :, None]

        near_weights, early_weights, far_weights = weigh(near, early, far)
        mixed = join(near_weights @ near_values + far_weights @ values, 2, length)
        mixed = mixed + join(early_weights, 2, length) @ v[:, :, :first]
        if causal:  # a global block's past is global
            return mixed
        seeing_all = attend_visible(q[:, :, :first], k, v, absent[:, :, None])
        return torch.cat((seeing_all, mixed[:, :, first:]), dim=2)

    def _check_length(self, length: int) -> None:
        blocks = self.chosen.shape[1]
        if length > blocks * self.config.block:
            raise ValueError(
                f"bigbird drew its random blocks for {self.max_length} tokens and met {length}."
            )

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the keys of the cache that the newest token sees."""
        length = state.k.shape[2]
        self._check_length(length)
        blocks = torch.arange(length, device=q.device) // self.config.block
        own = (length - 1) // self.config.block
        seen = (blocks >= own - self.config.near_blocks) | (blocks < self.config.global_blocks)
        seen = seen | (blocks[:, None] == self.chosen[:, None, own]).any(dim=-1)
        hidden = ~seen[None, :, None]
        return attend_visible(q / self.head_width**0.5, state.k, state.v, hidden)
