"""Sink fixed attention (SF-Attn) of SinkLoRA: fewer shifted groups, and global first tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of
from cab.variants.sparse._groups import attend_in_shifted_groups, group_starts
from cab.variants.sparse._recent import RecentKeys, positions, remember


@register_variant(
    name="sink-shifted",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax within groups, shifted in a quarter of the heads, and over the first "
    "`sinks` tokens",
    paper="SinkLoRA: Enhanced Efficiency and Chat Capabilities for Long-Context Large Language "
    "Models (Zhang)",
    year=2024,
    arxiv="2406.05678",
    padding="position",
    time="N (group + sinks) d",
    memory="N (group + sinks)",
    state="2 (group + sinks) E + 1/H",
    sees="t // group == s // group or s < sinks or t < sinks "
    "or (H > 1 and (t - max(1, group // 2)) // group == (s - max(1, group // 2)) // group)",
    budget="group",
    published_defaults="groups of a quarter of the length and 4 sinks; here 16, a quarter "
    "of 64, and 2",
    added="2026-11-21",
)
class SinkShiftedAttention(DecodingAttention):
    r"""Softmax over the own group, shifted in some heads, and over the first g tokens.

    .. math:: V_t = \{s : \lfloor (s - c_h) / G \rfloor = \lfloor (t - c_h) / G \rfloor,
              \ \text{or}\ s < g,\ \text{or}\ t < g\}, \quad
              o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    in CS with :math:`s \le t`. The paper splits the heads, then their second half once more, and
    shifts one part of it by half a group (:math:`c_h = \lfloor G / 2 \rfloor`, else 0): half of
    the last H // 2 heads, and one at least. The sinks see and are seen by all. As in `shifted`,
    nothing is rolled round the end. The compressed cache of its inference is left out.
    """

    @dataclass(frozen=True)
    class Config:
        """group: tokens per group, G above. sinks: global tokens at the start, g above."""

        group: int = 16
        sinks: int = 2

        def __post_init__(self) -> None:
            if self.group < 1 or self.sinks < 1:
                raise ValueError("group and sinks must be at least 1")

    config: Config

    @property
    def shifted(self) -> int:
        """How many heads shift their groups: the last ones."""
        return (self.heads // 2 + 1) // 2

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        q, sinks = q / self.head_width**0.5, self.config.sinks
        absent = padding_of(k, key_padding_mask)
        out = attend_in_shifted_groups(
            q,
            k,
            v,
            absent,
            group=self.config.group,
            shifted=self.shifted,
            causal=self.pattern.causal,
            sinks=sinks,
        )
        if self.pattern.causal:  # a sink's past are sinks
            return out
        seeing_all = attend_visible(q[:, :, :sinks], k, v, absent[:, :, None])
        return torch.cat((seeing_all, out[:, :, sinks:]), dim=2)

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the sinks and the last `group` keys and values."""
        return remember(state, k, v, self.config.group, self.config.sinks)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to the sinks and to the kept keys of the newest token's group."""
        start = group_starts(state.length - 1, self.config.group, self.heads, self.shifted)
        place = positions(state, self.config.sinks)[:, None]
        hidden = ((place < start) & (place >= self.config.sinks)) | (place < 0)
        return attend_visible(q / self.head_width**0.5, state.k, state.v, hidden[:, :, None])
