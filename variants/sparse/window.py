"""Sliding-window attention: softmax over the nearest tokens, in memory linear in the length."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention, KeyValueCache
from cab.kernels.window.chunked import window_attention
from cab.registry import register_variant


@register_variant(
    name="window",
    family="sparse",
    patterns="ns cs",
    summary="softmax over the tokens at a distance of less than `window`",
    paper="Longformer: The Long-Document Transformer (Beltagy, Peters, Cohan)",
    year=2020,
    arxiv="2004.05150",
    padding="distance",
    time="N window d",
    memory="N window",
    state="2 window E",
    sees="abs(t - s) < window",
    budget="window",
    published_defaults="512 tokens of 4,096, half on each side; here 16 to the past, and to the "
    "future if not causal",
    added="2026-11-21",
    used_by=(
        (
            "gpt-oss",
            "https://docs.nvidia.com/nemo/megatron-bridge/nightly/models/llm/gpt-oss.html",
        ),
    ),
)
class WindowAttention(DecodingAttention):
    r"""Softmax over near keys: :math:`V_t = \{s : |t - s| < w\}`, and in CS also :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    The sequence is cut into blocks of w queries. A block meets the keys of its own block and of
    its neighbours (3 w, or 2 w when causal) in one product, so no key is gathered per query.
    """

    @dataclass(frozen=True)
    class Config:
        """window: a causal query sees itself and window - 1 before it; else as many after it."""

        window: int = 16

        def __post_init__(self) -> None:
            if self.window < 1:
                raise ValueError("window must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose window is all padding gets 0."""
        return window_attention(
            *(q, k, v),
            window=self.config.window,
            causal=self.pattern.causal,
            key_padding_mask=key_padding_mask,
        )

    def absorb(
        self,
        state: KeyValueCache | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueCache:
        """Keep the last `window` keys and values; the first ones stand for positions before 0."""
        window = self.config.window
        if key_padding_mask is None:
            key_padding_mask = k.new_zeros(k.shape[0], k.shape[2], dtype=torch.bool)
        if state is None:
            empty = k.new_zeros(*k.shape[:2], window, k.shape[3])
            absent = torch.ones(k.shape[0], window, dtype=torch.bool, device=k.device)
            state = KeyValueCache(empty, empty, absent)
        return KeyValueCache(
            torch.cat((state.k, k), dim=2)[:, :, -window:],
            torch.cat((state.v, v), dim=2)[:, :, -window:],
            torch.cat((state.key_padding_mask, key_padding_mask), dim=1)[:, -window:],
        )

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys."""
        visible = ~state.key_padding_mask[:, None, None, :]
        return F.scaled_dot_product_attention(q, state.k, state.v, attn_mask=visible)
