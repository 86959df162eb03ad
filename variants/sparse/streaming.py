"""StreamingLLM: a sliding window, and the first tokens as sinks of attention."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import padding_of
from cab.variants.sparse._first import attend_near_and_first, recall_near_and_first
from cab.variants.sparse._recent import RecentKeys, remember


@register_variant(
    name="streaming",
    family="sparse",
    patterns="cs",
    summary="causal softmax over the last `window` tokens and the first `sinks`",
    paper="Efficient Streaming Language Models with Attention Sinks (Xiao et al.)",
    year=2023,
    arxiv="2309.17453",
    padding="position",
    time="N (window + sinks) d",
    memory="N (window + sinks)",
    state="2 (window + sinks) E + 1/H",
    sees="t - s < window or s < sinks",
    budget="window",
    published_defaults="4 sinks and the last 2,044 of the 4,096 training tokens; here 4 "
    "and 12, as many tokens as `window` sees",
    added="2026-11-21",
)
class StreamingAttention(DecodingAttention):
    r"""Softmax over :math:`V_t = \{s \le t : t - s < w\ \text{or}\ s < g\}`, g sinks.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    The paper rolls a cache under a trained model and counts positions inside the cache; here a
    model is trained with it, and positions are the backbone's. The state is that cache.
    """

    @dataclass(frozen=True)
    class Config:
        """window: a query sees itself and window - 1 before it. sinks: first tokens kept."""

        window: int = 12
        sinks: int = 4

        def __post_init__(self) -> None:
            if self.window < 1 or self.sinks < 1:
                raise ValueError("window and sinks must be at least 1")

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
        window, sinks = self.config.window, self.config.sinks
        absent = padding_of(k, key_padding_mask)
        return attend_near_and_first(
            q / self.head_width**0.5, k, v, absent, window, sinks, causal=True
        )

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the sinks and the last `window` keys and values."""
        return remember(state, k, v, self.config.window, self.config.sinks)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys."""
        return recall_near_and_first(q / self.head_width**0.5, state, self.config.sinks)
