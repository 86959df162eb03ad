"""Gated attention: a sigmoid gate of the querying token on what each head has read."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="gated",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="softmax attention whose output is multiplied by a sigmoid gate of the query's token",
    paper="Gated Attention for Large Language Models: Non-linearity, Sparsity, and "
    "Attention-Sink-Free (Qiu et al.)",
    year=2025,
    arxiv="2505.06708",
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="one gate per channel of every head, as here, or one per head; rotary "
    "positions, here whatever positions the backbone gives",
    added="2026-11-30",
    used_by=(
        (
            "Qwen3-Next",
            "https://github.com/huggingface/transformers/tree/main/src/transformers/models/qwen3_next",
        ),
        ("Kimi K3", "https://github.com/vllm-project/vllm-ascend/pull/12950"),
    ),
)
class GatedAttention(CachedAttention):
    r"""Multiply what the heads have read by a gate, before the output projection.

    .. math:: y_t = W_o (o_t \odot \sigma(W_g x_t)), \quad
              o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    V_t are the unpadded keys; in CS those at positions up to t. :math:`W_g` has one row for each
    channel of every head, or one for each head. Of the five places for a gate that the paper
    compares this is the best (G1). The gate is a function of the stream that asks, in the cross
    patterns too. The paper trains causal self attention.
    """

    @dataclass(frozen=True)
    class Config:
        """per_channel: whether each channel of a head has a gate, or the head as a whole."""

        per_channel: bool = True

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        gates = self.dim if self.config.per_channel else self.heads
        self.gate = nn.Linear(self.dim, gates, bias=False)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        causal = self.pattern == Pattern.CS
        return softmax_attention(q, k, v, causal=causal, key_padding_mask=key_padding_mask)

    def answer(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Gate and project."""
        gates = self.gate(x).sigmoid().unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.output(self.merge_heads(mixed * gates))
