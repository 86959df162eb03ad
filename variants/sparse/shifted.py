"""Shifted sparse attention (S2-Attn): groups, shifted by half a group in half of the heads."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of
from cab.variants.sparse._groups import attend_in_shifted_groups, group_starts
from cab.variants.sparse._recent import RecentKeys, positions, remember


@register_variant(
    name="shifted",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax within groups of tokens; half of the heads shift the groups by half a group",
    paper="LongLoRA: Efficient Fine-tuning of Long-Context Large Language Models (Chen et al.)",
    year=2023,
    arxiv="2309.12307",
    padding="position",
    time="N group d",
    memory="N group",
    state="2 group E + 1/H",
    sees="t // group == s // group "
    "or (H > 1 and (t - max(1, group // 2)) // group == (s - max(1, group // 2)) // group)",
    budget="group",
    published_defaults="groups of a quarter of the length; here 16, a quarter of 64",
    added="2026-11-21",
)
class ShiftedAttention(DecodingAttention):
    r"""Softmax within groups of g tokens; in the last H // 2 heads they begin g / 2 later.

    .. math:: V_t = \{s : \lfloor (s - c_h) / g \rfloor = \lfloor (t - c_h) / g \rfloor\}, \quad
              o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    with :math:`c_h` 0 or :math:`\lfloor g / 2 \rfloor`, and in CS :math:`s \le t`. The first half
    group of the shifted heads stays alone, as in the authors' default code (flash attention over
    cut sequences). The paper's listing, and the authors' code without flash attention, roll the
    sequence instead, so that its last half group joins the first one: that shows the future to the
    first g / 2 tokens. With one head no group is shifted.
    """

    @dataclass(frozen=True)
    class Config:
        """group: tokens per group, g above."""

        group: int = 16

        def __post_init__(self) -> None:
            if self.group < 1:
                raise ValueError("group must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose group is all padding gets 0."""
        return attend_in_shifted_groups(
            q / self.head_width**0.5,
            k,
            v,
            padding_of(k, key_padding_mask),
            group=self.config.group,
            shifted=self.heads // 2,
            causal=self.pattern.causal,
        )

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the last `group` keys and values; some of them may be of the group before."""
        return remember(state, k, v, self.config.group)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys of the newest token's group."""
        start = group_starts(state.length - 1, self.config.group, self.heads, self.heads // 2)
        hidden = (positions(state)[:, None] < start)[:, :, None]
        return attend_visible(q / self.head_width**0.5, state.k, state.v, hidden)
