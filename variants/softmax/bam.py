"""Branch-attend-mix: a soft mixture of attention experts."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="bam",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="softmax attention as a mixture of experts that are all active, weighed per token",
    paper="BAM! Just Like That: Simple and Efficient Parameter Upcycling for Mixture of Experts "
    "(Zhang et al.)",
    year=2024,
    arxiv="2408.08274",
    time="N M d",
    memory="N M H",
    state="2 M E (1 - shared + shared ceil(H / min(experts, H)) / H)",
    published_defaults="each expert is a whole attention layer of a trained model, with keys and "
    "values of its own or shared; here 2 experts with half of the heads each and keys and values "
    "of their own, trained from the start",
    added="2026-11-30",
)
class BranchAttendMix(CachedAttention):
    r"""Add the outputs of attention experts, weighed by a router on the query's token x_t.

    .. math:: y_t = \sum_{e=1}^{n} r_{te} \sum_{h \in e} W_o^h o_t^h, \quad
              r_t = \mathrm{softmax}(W_r x_t)

    o are the heads of softmax attention, in n experts of about H / n heads. No expert is left out
    (soft routing), so that no loss has to balance them, and work grows with N M. With shared, the
    experts read the same keys and values, and differ in queries and output. In the paper each
    expert is as large as the layer of the model that it was copied from; here the experts share
    the size of one layer. The paper's experts of feed-forward layers, beside these, belong to the
    network. One expert is softmax attention. The paper is causal.
    """

    @dataclass(frozen=True)
    class Config:
        """experts: n, at most one for each head. shared: whether keys and values are shared."""

        experts: int = 2
        shared: bool = False

        def __post_init__(self) -> None:
            if self.experts < 1:
                raise ValueError("experts must be at least 1")

    config: Config
    expert_of_head: Tensor
    key_of_head: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        experts = min(self.config.experts, self.heads)
        heads = torch.arange(self.heads)
        of_head = heads * experts // self.heads
        first = (of_head[:, None] > torch.arange(experts)).long() @ of_head.bincount()
        self.register_buffer("expert_of_head", of_head, persistent=False)
        keys = heads - first if self.config.shared else heads
        self.register_buffer("key_of_head", keys, persistent=False)
        width = int(keys.max() + 1) * self.head_width
        self.key, self.value = (nn.Linear(self.dim, width, bias=False) for _ in range(2))
        self.router = nn.Linear(self.dim, experts, bias=False) if experts > 1 else None

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B H N E"]:
        """Cut into as many heads as there are, of queries, or of keys or values."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B G M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return the heads of softmax attention. In CS the queries are the last N of M."""
        k, v = k[:, self.key_of_head], v[:, self.key_of_head]
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )

    def answer(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Weigh the experts and project."""
        if self.router is not None:
            weights = self.router(x).softmax(dim=-1)[..., self.expert_of_head]
            mixed = mixed * weights.mT[..., None]
        return self.output(self.merge_heads(mixed))
