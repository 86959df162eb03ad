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

    def keep(self, x: Float[Tensor, "B M D"]) -> Kept:
        """Return the vector of each token, and what its block's entry is made of."""
        return self.entry_norm(self.entry(x))[:, None], self.compressor.keep(x)

    def select(
        self,
        x: Float[Tensor, "B N D"],
        scores: Float[Tensor, "B H N n"],
        hidden: Bool[Tensor, "B 1 N n"],
        kept: Kept,
        absent: Bool[Tensor, "B 1 M"],
    ) -> Bool[Tensor, "B 1 N n"]:
        """Return which entries are hidden; by default those that are incomplete or padding."""
        return hidden

    def answer(
        self, x: Float[Tensor, "B N D"], kept: Kept, absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B N D"]:
        """Answer from the window and the entries of complete blocks."""
        block, queries, tokens = self.config.block, x.shape[1], absent.shape[2]
        q = self.query_norm(self.split(self.query(x), self.heads)) / self.width**0.5
        entries, gone = self.compressor(kept[1], absent), cut(absent, 2, block, fill=True)
        position = of_queries(queries, tokens, x.device)
        number = torch.arange(entries.shape[2], device=x.device)
        open_ = (number + 1) * block <= position[:, None] + 1
        scores = q @ entries.mT
        hidden = gone.all(dim=-1)[:, :, None] | ~open_
        hidden = self.select(x, scores, hidden, kept, absent)

        lead = min(tokens - queries, self.config.window - 1)
        near = kept[0][:, :, -(lead + queries) :].expand(-1, self.heads, -1, -1)
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
        mixed = mixed + join(far_weights, 2, lead + queries) @ entries
        return self.output(mixed[:, :, lead:].transpose(1, 2).flatten(-2))
