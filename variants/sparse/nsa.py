"""Native sparse attention: summaries of blocks, a few whole blocks, and a window."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.window.chunked import window_attention
from cab.registry import register_variant
from cab.variants.sparse._blocks import cut, weigh
from cab.variants.sparse._selected import (
    Kept,
    SelectedAttention,
    attend_to_blocks,
    choose_blocks,
    of_queries,
)


@register_variant(
    name="nsa",
    family="sparse",
    patterns="cs",
    summary="gated sum of attention to summaries of blocks, to the blocks of the best summaries "
    "and to a window",
    paper="Native Sparse Attention: Hardware-Aligned and Natively Trainable Sparse Attention "
    "(Yuan et al.)",
    year=2025,
    arxiv="2502.11089",
    padding="position",
    time="N (N / block + 2 top_k block + 2 window) d",
    memory="N (9 N / block + 4 top_k block)",
    state="6 M E / H",
    sees="chosen",
    published_defaults="of 32,768 tokens summaries of 32 every 16, 16 blocks of 64 and a window "
    "of 512, 16 query heads to a key head; here of 128 summaries of 4, 6 blocks of 4 and a window "
    "of 16, all query heads to one key head",
    added="2026-11-30",
)
class NativeSparseAttention(SelectedAttention):
    r"""Three attentions per query, each with keys and values of its own, weighed by gates.

    .. math:: o_t = g^c_t\, \mathrm{Attn}(q_t, \tilde K^c, \tilde V^c)
              + g^s_t\, \mathrm{Attn}(q_t, K^s_{I_t}, V^s_{I_t})
              + g^w_t\, \mathrm{Attn}(q_t, K^w_{(t-w,t]}, V^w_{(t-w,t]}), \quad
              g_t = \sigma(W_g x_t)

    .. math:: \tilde k_b = \operatorname{mean}_{s \in b} k_s
              + W_2 \operatorname{mean}_{s \in b} \mathrm{SiLU}(W_1 (k_s + p_{s - \min b}))

    The first reads a summary of each block that is complete, made by a network that knows the
    place p of a token in its block (the paper says only that it is an MLP; the mean is added so
    that summaries start as those of `moba`). The second reads up to top_k whole blocks I_t: the
    query's own (up to itself), the one before it, the first, and those whose summaries have the
    most weight in the first attention, on average over the heads. All query heads share one head
    of keys and values, so they choose together. The choice has no gradient; what it is made from
    has one through the first attention. The paper lets summaries overlap and be shorter than the
    blocks; here both are the same blocks. For complete blocks this is the paper's equation 9.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens; top_k: blocks, three of them fixed; window: tokens, the query's too."""

        block: int = 4
        top_k: int = 6
        window: int = 16

        def __post_init__(self) -> None:
            if min(self.block, self.window) < 1:
                raise ValueError("block and window must be at least 1")
            if self.top_k < 3:
                raise ValueError("top_k must be at least 3: three blocks are always read")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.width = self.dim // self.heads
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, 3 * self.width, bias=False)
        self.value = nn.Linear(self.dim, 3 * self.width, bias=False)
        self.key_summary = Summary(self.width, self.config.block)
        self.value_summary = Summary(self.width, self.config.block)
        self.gate = nn.Linear(self.dim, 3 * self.heads)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def keep(self, x: Float[Tensor, "B M D"]) -> Kept:
        """Return the keys of the three attentions, then their values."""
        parts = (*self.key(x).chunk(3, dim=-1), *self.value(x).chunk(3, dim=-1))
        return tuple(part[:, None] for part in parts)

    def answer(
        self, x: Float[Tensor, "B N D"], kept: Kept, absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B N D"]:
        """Answer by all three attentions; what sees nothing gives 0."""
        q = self.split(self.query(x), self.heads)
        gates = self.split(self.gate(x).sigmoid(), self.heads)
        block, scaled = self.config.block, q / self.width**0.5
        position = of_queries(q.shape[2], absent.shape[2], x.device)
        gone = cut(absent, 2, block, fill=True)

        empty = gone.all(dim=-1)[:, :, None]  # (B, 1, 1, n)
        number = torch.arange(gone.shape[2], device=x.device)
        open_ = (number + 1) * block <= position[:, None] + 1
        scores = scaled @ self.key_summary(cut(kept[0], 2, block), gone).mT
        (weights,) = weigh((scores, empty | ~open_))
        compressed = weights @ self.value_summary(cut(kept[3], 2, block), gone)

        choice = self._choose(weights, empty, position // block, number)
        keys, values = (kept[i].expand(-1, self.heads, -1, -1) for i in (1, 4))
        choice = choice.expand(-1, self.heads, -1, -1)
        selected = attend_to_blocks(scaled, keys, values, absent, choice, block)
        near = self._attend_near(q, kept[2], kept[5], absent)
        mixed = torch.stack((compressed, selected, near), dim=-1) * gates[..., None, :]
        return self.output(mixed.sum(dim=-1).transpose(1, 2).flatten(-2))

    @torch.no_grad()
    def _choose(
        self,
        weights: Float[Tensor, "B H N n"],
        empty: Bool[Tensor, "B 1 1 n"],
        own: Int[Tensor, " N"],
        number: Int[Tensor, " n"],
    ) -> Int[Tensor, "B 1 N c"]:
        """The blocks that a query reads besides its own: the first, the last, and the best."""
        before = own[:, None] - number
        fixed = (before == 1) | (number == 0)
        score = weights.mean(dim=1, keepdim=True) + 2 * fixed
        return choose_blocks(score, empty | (before < 1), self.config.top_k - 1)

    def _attend_near(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B 1 M E"],
        v: Float[Tensor, "B 1 M E"],
        absent: Bool[Tensor, "B 1 M"],
    ) -> Float[Tensor, "B H N E"]:
        """Attend to the window; of tokens before the queries only those in it are looked at."""
        lead = min(k.shape[2] - q.shape[2], self.config.window - 1)
        k, v = (x[:, :, -(lead + q.shape[2]) :].expand(-1, self.heads, -1, -1) for x in (k, v))
        padding = absent[:, 0, -(lead + q.shape[2]) :]
        options = {"window": self.config.window, "causal": True, "key_padding_mask": padding}
        return window_attention(F.pad(q, (0, 0, lead, 0)), k, v, **options)[:, :, lead:]


class Summary(nn.Module):
    """One vector for each block of tokens: their mean, and what a small network adds to it."""

    def __init__(self, width: int, block: int) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(block, width))
        self.first = nn.Linear(width, width, bias=False)
        self.last = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "B 1 n b E"], gone: Bool[Tensor, "B 1 n b"]
    ) -> Float[Tensor, "B 1 n E"]:
        """Summarise the tokens of each block that are not gone; 0 for a block without any."""
        hidden = F.silu(self.first(x + self.place))
        present = (~gone)[..., None].to(x.dtype)
        count = present.sum(dim=-2).clamp(min=1)
        mean, added = ((part * present).sum(dim=-2) / count for part in (x, hidden))
        return mean + self.last(added)
