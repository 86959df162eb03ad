"""Triangular attention (Ltri-LLM): spans that attend to themselves are stored and retrieved."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import cut, join, padding_of, weigh


class Spans(NamedTuple):
    """The spans of each chunk: first and last token (last < first for none), and mean key."""

    first: Int[Tensor, "B n S"]
    last: Int[Tensor, "B n S"]
    index: Float[Tensor, "B H n S E"]


class Streamed(NamedTuple):
    """The decode state: all keys and values, and the queries by which spans are found."""

    cache: KeyValueCache
    q: Float[Tensor, "B H M E"]


@register_variant(
    name="triangular",
    family="sparse",
    patterns="cs",
    summary="softmax over the near tokens and over retrieved spans, found as triangles in the "
    "attention of earlier chunks",
    paper="Ltri-LLM: Streaming Long Context Inference for LLMs with Training-Free Dynamic "
    "Triangular Attention Pattern (Tang, Xiu, Wang, Geng, Wang, Cai)",
    year=2024,
    arxiv="2412.04757",
    padding="position",
    time="N (N spans / chunk + 13 chunk + 6 top_k span) d",
    memory="N max(N spans / chunk, top_k span d)",
    state="3 M E",
    sees="chosen",
    published_defaults="windows and retrieved spans of thousands of tokens each, in trained "
    "models; here chunks of 8 tokens with up to 2 spans of up to 4, of which 4 are retrieved",
    added="2026-11-30",
)
class TriangularAttention(CachedAttention):
    r"""Softmax over the query's own chunk, the chunk before, and the spans that fit the query.

    .. math:: S_{xy} = \sum_{x \le j \le i \le y} (\bar A_{ij} - \theta), \quad
              z_p = \operatorname{mean}_{s \in p} k_s, \quad
              o_t = \sum_{s \in W_t \cup P_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    :math:`\bar A` is the causal softmax attention within a chunk, the mean over heads. A span of
    tokens x to y that attend to one another is a triangle of large weights in it, and S is high.
    Non-maximum suppression takes the span with the highest positive S, drops all spans that
    overlap it, and goes on, up to `spans` per chunk. :math:`W_t` are the tokens of t's chunk up to
    t and of the chunk before; :math:`P_t` are the tokens of the `top_k` spans of still earlier
    chunks with the highest :math:`q_t \cdot z_p`.

    The choice has no gradient. The paper serves models that were trained with softmax attention;
    here they are trained with the retrieval. It also keeps the first tokens, lets spans overlap in
    part, adapts index vectors while it reads, and lets heads and layers vote on what to retrieve.
    Comparing each query with all indices takes N / chunk of them, quadratic from some thousand
    tokens on.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens. spans: of a chunk. span: their most tokens. top_k: spans retrieved.

        baseline: theta, the weight that a pair needs to speak for a span.
        """

        chunk: int = 8
        spans: int = 2
        span: int = 4
        top_k: int = 4
        baseline: float = 0.125

        def __post_init__(self) -> None:
            if min(self.chunk, self.spans, self.span, self.top_k) < 1:
                raise ValueError("chunk, spans, span and top_k must be at least 1")
            if self.span > self.chunk:
                raise ValueError("span must be at most chunk")

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
        chunk, length = self.config.chunk, q.shape[2]
        absent, scaled = padding_of(k, key_padding_mask), q / self.head_width**0.5
        keys, values = (cut(x, 2, chunk, before=chunk) for x in (k, v))
        gone = cut(absent, 2, chunk, before=chunk, fill=True)[..., None, :]
        here = torch.arange(chunk, device=q.device)[:, None]
        later = torch.arange(2 * chunk, device=q.device) - chunk > here
        near = cut(scaled, 2, chunk) @ keys.mT

        own = torch.arange(length, device=q.device) // chunk
        spans = self._find(scaled, k, absent)
        scores, hidden, far_values = self._retrieve(scaled, own, spans, k, v, absent)
        parts = (near, later | gone), (cut(scores, 2, chunk), cut(hidden, 2, chunk, fill=True))
        near_weights, far_weights = weigh(*parts)
        far = join(far_weights, 2, length)[..., None, :] @ far_values
        return join(near_weights @ values, 2, length) + far.squeeze(-2)

    @torch.no_grad()
    def _find(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Spans:
        """Find the spans of all chunks, for scaled queries."""
        chunk = self.config.chunk
        keys, gone = cut(k, 2, chunk), cut(absent, 2, chunk, fill=True)
        place = torch.arange(chunk, device=q.device)
        hidden = (place > place[:, None]) | gone[..., None, :]
        (weights,) = weigh((cut(q, 2, chunk) @ keys.mT, hidden))
        gain = (weights - self.config.baseline).masked_fill(hidden | gone[..., None], 0.0)
        gain = gain.mean(dim=1, dtype=torch.promote_types(gain.dtype, torch.float32))
        # Sums over rows before a and columns before b. Rows before x have nothing from x on.
        sums = F.pad(gain.cumsum(dim=-1).cumsum(dim=-2), (1, 0, 1, 0))  # (B, n, C + 1, C + 1)
        whole = sums.diagonal(dim1=-2, dim2=-1)[..., None, 1:]
        score = whole - sums[..., 1:, :-1].mT  # of the span from x (rows) to y (columns)
        size = place - place[:, None]
        outside = gone[:, 0, :, None] | gone[:, 0, ..., None]  # a span begins and ends unpadded
        outside = outside | (size < 0) | (size >= self.config.span)
        score = score.masked_fill(outside, -torch.inf)

        found = []
        for _ in range(self.config.spans):
            best = score.flatten(-2).max(dim=-1)
            first, last = best.indices // chunk, best.indices % chunk
            # None of a positive score is left: a span that ends before it begins.
            found.append((first, torch.where(best.values > 0, last, first - 1)))
            overlap = (place[:, None] <= last[..., None, None]) & (place >= first[..., None, None])
            score = score.masked_fill(overlap, -torch.inf)
        first, last = (torch.stack(ends, dim=-1) for ends in zip(*found, strict=True))
        members = (place >= first[..., None]) & (place <= last[..., None])
        members = members & ~gone[:, 0, :, None]
        share = members / members.sum(dim=-1, keepdim=True).clamp(min=1)
        start = chunk * torch.arange(first.shape[1], device=q.device)[:, None]
        return Spans(first + start, last + start, share[:, None].to(k.dtype) @ keys)

    def _retrieve(
        self,
        q: Float[Tensor, "B H N E"],
        own: Int[Tensor, " N"],
        spans: Spans,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        absent: Bool[Tensor, "B 1 M"],
    ) -> tuple[Float[Tensor, "B H N L"], Bool[Tensor, "B H N L"], Float[Tensor, "B H N L E"]]:
        """Return scores of the retrieved tokens, which of them are hidden, and their values."""
        with torch.no_grad():
            chunks, each = spans.first.shape[1:]
            chunk = torch.arange(chunks, device=q.device).repeat_interleave(each)
            empty = (spans.last < spans.first).flatten(1)[:, None, None]
            closed = empty | (chunk > own[:, None] - 2)
            nearness = (q @ spans.index.flatten(2, 3).mT).masked_fill(closed, -torch.inf)
            best = nearness.topk(min(self.config.top_k, chunks * each), dim=-1)
            ends = [
                x.flatten(1)[:, None, None].expand_as(nearness).gather(-1, best.indices)
                for x in (spans.first, spans.last)
            ]
            token = ends[0][..., None] + torch.arange(self.config.span, device=q.device)
            hidden = (token > ends[1][..., None]) | (best.values == -torch.inf)[..., None]
            token = token.flatten(-2).clamp(max=k.shape[2] - 1)
            gone = absent[:, :, None].expand(-1, q.shape[1], q.shape[2], -1).gather(-1, token)
            hidden = hidden.flatten(-2) | gone
            index = token.flatten(2)[..., None].expand(-1, -1, -1, k.shape[3])
        keys, values = (x.gather(2, index).unflatten(2, token.shape[2:]) for x in (k, v))
        return (q[..., None, :] @ keys.mT).squeeze(-2), hidden, values

    def initial_state(  # type: ignore[override]
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Streamed:
        """Return empty caches. See `Attention.initial_state`."""
        cache = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        return Streamed(cache, cache.k)

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B D"], state: Streamed
    ) -> tuple[Float[Tensor, "B D"], Streamed]:
        """Append the token, and attend to the near tokens and the retrieved spans."""
        q, k, v = (
            self.split_heads(part(x[:, None])) for part in (self.query, self.key, self.value)
        )
        state = Streamed(self.absorb(state.cache, k, v), torch.cat((state.q, q), dim=2))
        return self.output(self.merge_heads(self._answer(state)))[:, 0], state

    def _answer(self, state: Streamed) -> Float[Tensor, "B H 1 E"]:
        """Answer the newest query."""
        (k, v, mask), queries = state.cache, state.q / self.head_width**0.5
        own = (k.shape[2] - 1) // self.config.chunk
        start = max(0, own - 1) * self.config.chunk
        q, absent = queries[:, :, -1:], mask[:, None]
        near = q @ k[:, :, start:].mT, absent[:, :, None, start:]
        if not start:
            (weights,) = weigh(near)
            return weights @ v
        spans = self._find(queries[:, :, :start], k[:, :, :start], absent[..., :start])
        newest = torch.tensor([own], device=q.device)
        scores, hidden, values = self._retrieve(q, newest, spans, k, v, absent)
        near_weights, far_weights = weigh(near, (scores, hidden))
        return near_weights @ v[:, :, start:] + (far_weights[..., None, :] @ values).squeeze(-2)
