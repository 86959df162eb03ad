"""Longformer: a sliding window, and a few global tokens that see and are seen by all."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of
from cab.variants.sparse._first import attend_near_and_first, recall_near_and_first
from cab.variants.sparse._recent import RecentKeys, remember


@register_variant(
    name="longformer",
    family="sparse",
    patterns="ns cs",
    extended="cs",
    summary="softmax over a window and over the first `global_tokens` tokens, which see all "
    "tokens",
    paper="Longformer: The Long-Document Transformer (Beltagy, Peters, Cohan)",
    year=2020,
    arxiv="2004.05150",
    padding="position",
    time="N (window + global_tokens) d",
    memory="N (window + global_tokens)",
    state="2 (window + global_tokens) E + 1/H",
    sees="abs(t - s) < window or s < global_tokens or t < global_tokens",
    budget="window",
    published_defaults="window 512 (256 on each side) of 4,096 tokens, global tokens chosen by "
    "the task (the first, or those of a question); here 16 on each side and the first 2",
    added="2026-11-21",
)
class LongformerAttention(DecodingAttention):
    r"""Softmax over :math:`V_t = \{s : |t - s| < w,\ \text{or}\ s < g,\ \text{or}\ t < g\}`, in
    CS with :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    Unlike the paper's, global tokens share the projections of the others (a second set would be
    three times :math:`d^2` parameters more), and no layer or head is dilated. Its causal model
    has no global tokens; ours keeps them, which makes it the function of `streaming`.
    """

    @dataclass(frozen=True)
    class Config:
        """window: w above; w - 1 tokens on each side. global_tokens: g, the first ones."""

        window: int = 16
        global_tokens: int = 2

        def __post_init__(self) -> None:
            if self.window < 1 or self.global_tokens < 1:
                raise ValueError("window and global_tokens must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        q, first = q / self.head_width**0.5, self.config.global_tokens
        absent, causal = padding_of(k, key_padding_mask), self.pattern.causal
        mixed = attend_near_and_first(q, k, v, absent, self.config.window, first, causal)
        if causal:  # a global token's past is global
            return mixed
        seeing_all = attend_visible(q[:, :, :first], k, v, absent[:, :, None])
        return torch.cat((seeing_all, mixed[:, :, first:]), dim=2)

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the global keys and values and the last `window`."""
        return remember(state, k, v, self.config.window, self.config.global_tokens)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys."""
        return recall_near_and_first(q / self.head_width**0.5, state, self.config.global_tokens)
