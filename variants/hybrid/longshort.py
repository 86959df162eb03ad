"""Long-short attention: one softmax over near tokens and over summaries of distant ones."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_decoding_context, read_source
from cab.registry import register_variant
from cab.variants.hybrid._masked import masked_softmax


class LongShortState(NamedTuple):
    """The decode state: the window's tokens, and the summaries of all finished segments.

    What the window still holds of the present segment is enough to summarise it at its end.
    """

    k: Float[Tensor, "B W D"]
    v: Float[Tensor, "B W D"]
    scores: Float[Tensor, "B W R"]
    far_k: Float[Tensor, "B G D"]
    far_v: Float[Tensor, "B G D"]
    seen: int


@register_variant(
    name="longshort",
    family="hybrid",
    patterns="ns cs",
    summary="softmax over a window and over learned weighted sums of all (or all earlier) tokens",
    paper="Long-Short Transformer: Efficient Transformers for Language and Vision (Zhu, Ping, "
    "Xiao, Shoeybi, Goldstein, Anandkumar, Catanzaro)",
    year=2021,
    arxiv="2107.02192",
    padding="position",
    time="N d (d + window + rank) + causal N^2 d segment_rank / segment",
    memory="N (d + window + rank) + causal N^2 segment_rank / segment",
    state="2 E window + window segment_rank + 2 E segment_rank (M // segment)",
    published_defaults="NS: windows of 128 and 256 summaries for 4,096 tokens, here 16 and 8 for "
    "128; CS: windows of 512, segments of 16, 1 summary each, for 8,192, here 16, 16 and 1; "
    "positional biases, here left to the backbone",
    added="2026-11-21",
)
class LongShortAttention(MultiHeadAttention):
    r"""Summaries are sums of all tokens, weighted by a softmax over the positions.

    .. math:: P = \mathrm{softmax}_s(x_s W^P), \quad \bar{K} = P^\top K, \quad \bar{V} = P^\top V

    .. math:: o_t = \mathrm{softmax}\big(q_t [\mathrm{LN}_l(K_{W_t}), \mathrm{LN}_g(\bar{K})]^\top
              / \sqrt{E}\big) [\mathrm{LN}_l(V_{W_t}), \mathrm{LN}_g(\bar{V})]

    with r columns of P per head. In NS, queries in blocks of w see the 2 w keys around their
    block. In CS, W_t are the last w tokens, and each segment of l tokens has summaries of its own,
    which every later segment sees: N / l summaries for N queries. Two layer norms, over all heads,
    bring both kinds of keys and values to one scale. Positional biases, which the language model
    of the paper adds, are left to the backbone. This is the paper's equation; the authors' code
    for Long Range Arena normalises keys and values before they are summarised as well.
    """

    @dataclass(frozen=True)
    class Config:
        """window w in tokens; rank: summaries in NS; segment l in tokens, its summaries (CS)."""

        window: int = 16
        rank: int = 8
        segment: int = 16
        segment_rank: int = 1

        def __post_init__(self) -> None:
            if min(self.window, self.rank, self.segment, self.segment_rank) < 1:
                raise ValueError("window, rank, segment and segment_rank must be at least 1")
            if self.window < self.segment:
                raise ValueError(
                    "window must be at least segment: the tokens between would be unseen"
                )

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.rank = self.config.segment_rank if self.pattern.causal else self.config.rank
        self.summary = nn.Linear(self.dim, self.heads * self.rank)
        self.local_norm, self.far_norm = nn.LayerNorm(self.dim), nn.LayerNorm(self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Summarise, attend, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        absent = key_padding_mask
        if absent is None:
            absent = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        k, v, scores = self.key(x), self.value(x), self.summary(x)
        far_k, far_v, empty = self._summarise(k, v, scores, absent)
        hidden_far = empty[:, None]  # (B, 1, G)
        if self.pattern.causal:
            segment = torch.arange(x.shape[1], device=x.device)[:, None] // self.config.segment
            summarised = torch.arange(empty.shape[1], device=x.device) // self.rank
            hidden_far = hidden_far | (summarised >= segment)
        near = (self.local_norm(k), self.local_norm(v), absent)
        return self._attend(self.query(x), *near, far_k, far_v, hidden_far)

    def _summarise(
        self,
        k: Float[Tensor, "B N D"],
        v: Float[Tensor, "B N D"],
        scores: Float[Tensor, "B N R"],
        absent: Bool[Tensor, "B N"],
    ) -> tuple[Float[Tensor, "B G D"], Float[Tensor, "B G D"], Bool[Tensor, "B G"]]:
        """Return the normed summaries of each segment (in NS, of all), and which are empty."""
        length = k.shape[1]
        segment = min(self.config.segment, length) if self.pattern.causal else length
        missing = -length % segment
        scores, k, v = (
            F.pad(part, (0, 0, 0, missing)).unflatten(1, (-1, segment)).unflatten(
                -1, (self.heads, -1)
            ).transpose(2, 3)
            for part in (scores, k, v)
        )  # fmt: skip
        absent = F.pad(absent, (0, missing), value=True).unflatten(1, (-1, segment))
        weights = masked_softmax(scores.mT, absent[:, :, None, None])  # (B, S, H, r, l)
        means = [(weights @ part).transpose(2, 3).flatten(-2).flatten(1, 2) for part in (k, v)]
        empty = absent.all(dim=-1).repeat_interleave(self.rank, dim=1)
        return self.far_norm(means[0]), self.far_norm(means[1]), empty

    def _attend(
        self,
        q: Float[Tensor, "B N D"],
        k: Float[Tensor, "B N D"],
        v: Float[Tensor, "B N D"],
        absent: Bool[Tensor, "B N"],
        far_k: Float[Tensor, "B G D"],
        far_v: Float[Tensor, "B G D"],
        hidden_far: Bool[Tensor, "B _ G"],
    ) -> Float[Tensor, "B N D"]:
        """Attend in blocks of w queries, each beside the keys that one of them sees."""
        length = q.shape[1]
        block = min(self.config.window, length)
        missing, half = -length % block, max(1, self.config.window // 2)
        before, after = (block - 1, 0) if self.pattern.causal else (half, half)

        def beside(x: Tensor) -> Float[Tensor, "B H n m E"]:
            padded = F.pad(self.split_heads(x), (0, 0, before, missing + after))
            return padded.unfold(2, before + block + after, block).mT

        queries = F.pad(self.split_heads(q), (0, 0, 0, missing)) / self.head_width**0.5
        queries = queries.unflatten(2, (-1, block))
        keys, values = beside(k), beside(v)
        absent = F.pad(absent, (before, missing + after), value=True)
        hidden = absent.unfold(1, before + block + after, block)[:, None, :, None]
        if self.pattern.causal:
            offset = torch.arange(keys.shape[3], device=q.device)
            row = torch.arange(block, device=q.device)[:, None]
            hidden = hidden | (offset < row) | (offset > row + before)
        hidden_far = hidden_far.expand(-1, length, -1)
        hidden_far = F.pad(hidden_far, (0, 0, 0, missing), value=True).unflatten(1, (-1, block))
        far_k, far_v = (self.split_heads(part)[:, :, None] for part in (far_k, far_v))

        scores = torch.cat((queries @ keys.mT, queries @ far_k.mT), dim=-1)
        hidden = torch.cat((hidden.expand(-1, -1, -1, block, -1), hidden_far[:, None]), dim=-1)
        near, far = masked_softmax(scores, hidden).split((keys.shape[3], far_k.shape[3]), dim=-1)
        mixed = near @ values + far @ far_v
        return self.output(self.merge_heads(mixed.flatten(2, 3)[:, :, :length]))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> LongShortState:
        """Return an empty window and no summaries."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        sizes = [(self.config.window, self.dim)] * 2
        sizes += [(self.config.window, self.heads * self.rank), (0, self.dim), (0, self.dim)]
        return LongShortState(*(self.key.weight.new_zeros(batch, *size) for size in sizes), 0)

    def step(
        self, x: Float[Tensor, "B D"], state: LongShortState
    ) -> tuple[Float[Tensor, "B D"], LongShortState]:
        """Attend with one query; at a segment's end add its summaries. See `Attention.step`."""
        token, window = x[:, None], self.config.window
        news = self.key(token), self.value(token), self.summary(token)
        held = (state.k, state.v, state.scores)
        k, v, scores = (
            torch.cat((old, new), dim=1)[:, -window:] for old, new in zip(held, news, strict=True)
        )
        seen, far_k, far_v = state.seen + 1, state.far_k, state.far_v
        age = torch.arange(window, 0, -1, device=x.device)
        q = self.split_heads(self.query(token)) / self.head_width**0.5
        keys, values = (
            self.split_heads(torch.cat((self.local_norm(near), far), dim=1))
            for near, far in ((k, far_k), (v, far_v))
        )
        hidden = F.pad(age > seen, (0, far_k.shape[1]))
        out = self.output(self.merge_heads(masked_softmax(q @ keys.mT, hidden) @ values))
        if seen % self.config.segment == 0:
            ended = [part[:, -self.config.segment :] for part in (k, v, scores)]
            present = torch.zeros_like(ended[0][..., 0], dtype=torch.bool)
            new_k, new_v, _ = self._summarise(*ended, present)
            far_k, far_v = torch.cat((far_k, new_k), dim=1), torch.cat((far_v, new_v), dim=1)
        return out[:, 0], LongShortState(k, v, scores, far_k, far_v, seen)
