"""InfLLM-V2: block-sparse attention whose choice of blocks adds no parameters."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import cut, padding_of, weigh
from cab.variants.sparse._selected import attend_to_blocks, choose_blocks, of_queries


@register_variant(
    name="infllm-v2",
    family="sparse",
    patterns="cs",
    summary="softmax over the first block, near blocks, and those whose pooled keys have the most "
    "weight, for all heads alike",
    paper="InfLLM-V2: Dense-Sparse Switchable Attention for Seamless Short-to-Long Adaptation "
    "(Zhao et al.)",
    year=2025,
    arxiv="2509.24663",
    padding="position",
    time="N (4 N / block + 12 top_k block) d",
    memory="N (24 N / block + 4 top_k block)",
    state="2 M E",
    sees="chosen",
    budget="top_k",
    published_defaults="96 blocks of 64 tokens, among them 1 at the start and 32 near ones, "
    "pooled keys of 32 every 16; here 4 blocks of 8, 1 at the start and 2 near ones, pooled keys "
    "of 4 every 2; 16 heads choose together, here all",
    added="2026-11-30",
    used_by=(
        ("MiniCPM4", "https://arxiv.org/abs/2506.07900"),
        ("MiniCPM-SALA", "https://arxiv.org/abs/2602.11761"),
    ),
)
class InfLLMV2Attention(CachedAttention):
    r"""One softmax over the tokens of up to k blocks :math:`I_b`, chosen by pooled keys.

    .. math:: \bar k_c = \operatorname{mean}_{s \in [cl/2,\, cl/2 + l)} k_s, \quad
              p^h_t = \mathrm{softmax}_c(q^h_t \cdot \bar k^h_c / \sqrt{E}), \quad
              g_{tb} = \max_{c \text{ meets } I_b} \sum_h p^h_{tc}

    .. math:: o^h_t = \sum_{s \in I_b,\ b \in B_t,\ s \le t}
              \mathrm{softmax}_s(q^h_t \cdot k^h_s / \sqrt{E}) v^h_s

    B_t are the first block, the query's own and those just before it (`near` in all), and the
    blocks of the highest g among the others, k in all. Pooled keys are l = block / 2 tokens wide
    and overlap by half; a query sees those that end at or before it. The choice has no gradient.
    The projections are those of softmax attention, which this equals up to k blocks: the paper
    switches to dense attention below a length, which here follows from k. Its groups of heads
    share keys and values as well as the choice; here heads share the choice alone.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens, a multiple of 4; top_k: blocks in all; near: those at the query."""

        block: int = 8
        top_k: int = 4
        near: int = 2

        def __post_init__(self) -> None:
            if self.block < 4 or self.block % 4:
                raise ValueError("block must be a multiple of 4")
            if self.near < 1 or self.top_k < self.near + 1:
                raise ValueError("near must be at least 1, and top_k larger than near")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. The queries are the last N of M."""
        absent, q = padding_of(k, key_padding_mask), q / self.head_width**0.5
        choice = self._choose(q, k, absent).expand(-1, self.heads, -1, -1)
        return attend_to_blocks(q, k, v, absent, choice, self.config.block)

    @torch.no_grad()
    def _choose(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        absent: Bool[Tensor, "B 1 M"],
    ) -> Int[Tensor, "B 1 N c"]:
        """The blocks that a query reads besides its own."""
        block, stride = self.config.block, self.config.block // 4
        position = of_queries(q.shape[2], k.shape[2], k.device)
        # A pooled key begins at every stride and is two strides wide; four begin in a block.
        present = (~cut(absent, 2, block, after=stride, fill=True)).to(k.dtype)
        present = present.unfold(-1, 2 * stride, stride)
        tokens = cut(k, 2, block, after=stride).unfold(3, 2 * stride, stride)
        count = present.sum(dim=-1).flatten(2)  # (B, 1, 4 n)
        sums = (tokens * present[..., None, :]).sum(dim=-1).flatten(2, 3)
        pooled = sums / count.clamp(min=1)[..., None]
        end = torch.arange(pooled.shape[2], device=k.device) * stride + 2 * stride
        empty = (count == 0)[:, :, None]
        (weights,) = weigh((q @ pooled.mT, empty | (end > position[:, None] + 1)))
        summed = weights.sum(dim=1, keepdim=True)

        # The last pooled key that begins in the block before reaches into this one.
        reaching = F.pad(summed, (1, 0))
        best = reaching.unfold(-1, 5, 4).amax(dim=-1)
        before = position[:, None] // block - torch.arange(best.shape[-1], device=k.device)
        fixed = (before < self.config.near) | (before == position[:, None] // block)
        closed = cut(absent, 2, block, fill=True).all(dim=-1)[:, :, None] | (before < 1)
        return choose_blocks(best + 2 * self.heads * fixed, closed, self.config.top_k - 1)
