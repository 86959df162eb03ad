"""Shared parts of `csa` and `hca`: entries that stand for blocks, read beside a window.

Dimensions: B batch, H heads, N queries (the last of M tokens), E head width, n entries, D model
width, W channels.
"""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.variants.sparse._blocks import band, cut, join, weigh
from cab.variants.sparse._selected import Kept, SelectedAttention, of_queries


class Compressor(nn.Module):
    """Weigh the tokens of each block, for each channel, by a softmax of learned scores.

    entry_i = sum_j softmax_j(z_j + p_j) * c_j over the tokens j of block i. With `overlap` each
    token has two pairs c, z: one for its own block, one for the block after it.
    """

    def __init__(self, dim: int, width: int, block: int, overlap: bool) -> None:
        super().__init__()
        self.block, self.copies = block, 1 + overlap
        self.content = nn.Linear(dim, self.copies * width, bias=False)
        self.score = nn.Linear(dim, self.copies * width, bias=False)
        self.place = nn.Parameter(
            torch.zeros(self.copies * block, width)
        )  # p, earlier block first
        self.norm = nn.RMSNorm(width, eps=1e-6)

    def keep(self, x: Float[Tensor, "B M D"]) -> Float[Tensor, "B 1 M W"]:
        """Return c and z of each token."""
        return torch.cat((self.content(x), self.score(x)), dim=-1)[:, None]

    def forward(
        self, kept: Float[Tensor, "B 1 M W"], absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B 1 n E"]:
        """Return the entries of all blocks, the last perhaps incomplete; 0 for one of padding."""
        parts, gone = cut(kept, 2, self.block), cut(absent, 2, self.block, fill=True)
        content, score = (part.chunk(self.copies, dim=-1) for part in parts.chunk(2, dim=-1))
        hidden = [gone]
        if self.copies == 2:
            before = (0, 0, 0, 0, 1, -1)  # from one block to the next
            content = (F.pad(content[1], before), content[0])
            score = (F.pad(score[1], before), score[0])
            hidden = [F.pad(gone, (0, 0, 1, -1), value=True), gone]
        contents, scores = torch.cat(content, dim=-2), torch.cat(score, dim=-2) + self.place
        (weights,) = weigh((scores.mT, torch.cat(hidden, dim=-1)[..., None, :]))
        return self.norm((weights.mT * contents).sum(dim=-2))


class CompressedAttention(SelectedAttention):
    """One softmax over a window of tokens, some of the entries, and a sink, for each query.

    Each token, and each entry, is one vector that all heads read as key and as value.
    """

    overlap: bool

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.width = self.dim // self.heads
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.query_norm = nn.RMSNorm(self.width, eps=1e-6)
        self.entry = nn.Linear(self.dim, self.width, bias=False)
        self.entry_norm = nn.RMSNorm(self.width, eps=1e-6)
        self.compressor = Compressor(self.dim, self.width, self.config.block, self.overlap)
        self.sink = nn.Parameter(torch.zeros(self.heads, 1, 1, 1))
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def compressors(self) -> list[Compressor]:
        """Return what makes entries, each of one part of what is kept after the first."""
        return [self.compressor]

    def keep(self, x: Float[Tensor, "B M D"]) -> Kept:
        """Return the vector of each token, and what its block's entry is made of."""
        return self.entry_norm(self.entry(x))[:, None], self.compressor.keep(x)

    def select(
        self,
        x: Float[Tensor, "B N D"],
        scores: Float[Tensor, "B H N n"],
        hidden: Bool[Tensor, "B 1 N n"],
        entries: list[Tensor],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Bool[Tensor, "B 1 N n"]:
        """Return which entries are hidden; by default those that are incomplete or padding."""
        return hidden

    def answer(
        self, x: Float[Tensor, "B N D"], kept: Kept, absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B N D"]:
        """Answer a whole sequence from its windows and the entries of complete blocks."""
        pairs = zip(self.compressors(), kept[1:], strict=True)
        entries = [compressor(part, absent) for compressor, part in pairs]
        return self._respond(x, kept[0], absent, entries, absent.shape[2])

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Kept:
        """Return the state before the first token.

        It holds the vectors of the last window - 1 tokens and, for each compressor, what the next
        entries are made of (of fewer than `block` tokens, and of the block before where entries
        overlap) and the entries of the complete blocks.
        """
        near, *parts = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        state = [near]
        for part, compressor in zip(parts, self.compressors(), strict=True):
            width = part.shape[-1] // (2 * compressor.copies)
            state += [part, part.new_zeros(batch, 1, 0, width)]
        return tuple(state)

    def prefill(
        self, x: Float[Tensor, "B N D"], state: Kept
    ) -> tuple[Float[Tensor, "B N D"], Kept]:
        """Answer several tokens more; entries are made once, when their block is complete."""
        if not x.shape[1]:
            return x, state
        near, *new = self.keep(x)
        near = torch.cat((state[0], near), dim=2)
        after = [near[:, :, max(0, near.shape[2] - self.config.window + 1) :]]
        read, block = [], self.config.block
        for compressor, part, raw, made in zip(
            self.compressors(), new, state[1::2], state[2::2], strict=True
        ):
            raw = torch.cat((raw, part), dim=2)
            known = compressor.copies - 1 if made.shape[2] else 0  # blocks that have an entry
            entries = compressor(raw, _all_there(raw))[:, :, known:]
            complete = raw.shape[2] // block
            read.append(torch.cat((made, entries), dim=2))
            after.append(raw[:, :, max(0, complete - compressor.copies + 1) * block :])
            after.append(torch.cat((made, entries[:, :, : complete - known]), dim=2))
        tokens = state[2].shape[2] * block + state[1].shape[2] + x.shape[1]
        tokens -= block if self.overlap and state[2].shape[2] else 0
        return self._respond(x, near, _all_there(near), read, tokens), tuple(after)

    def _respond(
        self,
        x: Float[Tensor, "B N D"],
        near: Float[Tensor, "B 1 T E"],
        absent: Bool[Tensor, "B 1 T"],
        entries: list[Tensor],
        tokens: int,
    ) -> Float[Tensor, "B N D"]:
        """Answer the last of so many tokens.

        near are the vectors of at least the last tokens, absent which of them are padding. Only
        where all tokens are among them can a whole block be padding.
        """
        block, queries = self.config.block, x.shape[1]
        q = self.query_norm(self.split(self.query(x), self.heads)) / self.width**0.5
        position = of_queries(queries, tokens, x.device)
        number = torch.arange(entries[0].shape[2], device=x.device)
        hidden = ((number + 1) * block > position[:, None] + 1)[None, None]
        if near.shape[2] == tokens:
            gone = cut(absent, 2, block, fill=True).all(dim=-1)
            hidden = hidden | gone[:, :, None]
        scores = q @ entries[0].mT
        hidden = hidden.expand(len(x), -1, -1, -1)
        hidden = self.select(x, scores, hidden, entries, absent[:, :, -queries:])

        lead = min(near.shape[2] - queries, self.config.window - 1)
        near = near[:, :, -(lead + queries) :].expand(-1, self.heads, -1, -1)
        absent = absent[:, :, -(lead + queries) :]
        q = F.pad(q, (0, 0, lead, 0))
        beside = band(q, near, near, absent, self.config.window, causal=True)
        rows = beside.scores.shape[3]
        far = cut(F.pad(scores, (0, 0, lead, 0)), 2, rows)
        unseen = cut(F.pad(hidden, (0, 0, lead, 0), value=True), 2, rows, fill=True)
        sink = self.sink.to(far.dtype).expand(*far.shape[:-1], 1)
        shown = torch.zeros_like(sink, dtype=torch.bool)
        parts = (beside.scores, beside.hidden), (far, unseen), (sink, shown)
        near_weights, far_weights, _ = weigh(*parts)
        mixed = join(near_weights @ beside.values, 2, lead + queries)
        mixed = mixed + join(far_weights, 2, lead + queries) @ entries[0]
        return self.output(mixed[:, :, lead:].transpose(1, 2).flatten(-2))


def _all_there(x: Float[Tensor, "B 1 T W"]) -> Bool[Tensor, "B 1 T"]:
    return torch.zeros(x.shape[:3], dtype=torch.bool, device=x.device)
