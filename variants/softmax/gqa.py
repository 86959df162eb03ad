"""Grouped-query attention: each group of query heads shares one key and value head."""

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
    name="gqa",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc",
    summary="softmax attention with one key and value head per group of query heads",
    paper="GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints "
    "(Ainslie et al.)",
    year=2023,
    arxiv="2305.13245",
    time="N M d",
    memory="N M",
    state="2 M E ceil(H / heads_per_group) / H",
    published_defaults="8 groups of 8 heads each; here groups of 2 heads, so that with 2 heads it "
    "is mqa",
    added="2026-11-21",
    used_by=(
        (
            "gpt-oss",
            "https://docs.nvidia.com/nemo/megatron-bridge/nightly/models/llm/gpt-oss.html",
        ),
        ("Nemotron 3 Nano", "https://arxiv.org/abs/2512.20848"),
    ),
)
class GroupedQueryAttention(CachedAttention):
    r"""Share keys and values: head h reads those of group :math:`g(h)`, one of G groups.

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot k_s^{g(h)} / \sqrt{E})
              v_s^{g(h)}

    with :math:`G = \lceil H / m \rceil` and :math:`g(h) = \lfloor hG/H \rfloor` for h from 0, m
    being the heads that share. G = 1 is multi-query attention and G = H, as with a single head,
    softmax attention. V_t are the unpadded keys; in CS those at positions up to t. Where m does
    not divide H, groups differ by one head in size, which the paper does not consider; it also
    converts trained models, and here all are trained from the start. In the paper the encoder
    keeps all heads.
    """

    @dataclass(frozen=True)
    class Config:
        """heads_per_group: m above; more than there are heads count as all heads."""

        heads_per_group: int = 2

        def __post_init__(self) -> None:
            if self.heads_per_group < 1:
                raise ValueError("heads_per_group must be at least 1")

    config: Config
    group_of_head: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        groups = -(-self.heads // self.config.heads_per_group)
        self.key = nn.Linear(self.dim, groups * self.head_width, bias=False)
        self.value = nn.Linear(self.dim, groups * self.head_width, bias=False)
        group_of_head = torch.arange(self.heads) * groups // self.heads
        self.register_buffer("group_of_head", group_of_head, persistent=False)

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B H N E"]:
        """Cut into as many heads as there are: H of queries, G of keys or values."""
        return x.unflatten(-1, (x.shape[-1] // self.head_width, -1)).transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B G M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        k, v = k[:, self.group_of_head], v[:, self.group_of_head]
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
