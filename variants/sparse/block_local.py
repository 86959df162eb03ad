"""Block-local attention: softmax within consecutive blocks, without connections between them."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of
from cab.variants.sparse._groups import attend_in_groups, group_starts
from cab.variants.sparse._recent import RecentKeys, positions, remember


@register_variant(
    name="block-local",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax within consecutive blocks of `block` tokens",
    paper="Generating Wikipedia by Summarizing Long Sequences (Liu et al.)",
    year=2018,
    arxiv="1801.10198",
    padding="position",
    time="N block d",
    memory="N block",
    state="2 block E + 1/H",
    sees="t // block == s // block",
    budget="block",
    published_defaults="blocks of 256 tokens in inputs of up to 11,000, with other layers that "
    "connect the blocks; here blocks of 16, an eighth of 128 tokens, without such layers",
    added="2026-11-21",
)
class BlockLocalAttention(DecodingAttention):
    r"""Softmax within the own block of b tokens, :math:`V_t = \{s : \lfloor s/b \rfloor =
    \lfloor t/b \rfloor\}`, and in CS also :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    The paper's "local attention", of a decoder; Long Range Arena runs it in NS. Nothing passes
    from block to block, in however many layers: the paper alternates it with another attention.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens per block; the last block may be shorter."""

        block: int = 16

        def __post_init__(self) -> None:
            if self.block < 1:
                raise ValueError("block must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose block is all padding gets 0."""
        block, absent = self.config.block, padding_of(k, key_padding_mask)
        q = q / self.head_width**0.5
        return attend_in_groups(
            q, k, v, absent, group=block, first=block, causal=self.pattern.causal
        )

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the last `block` keys and values; some of them may be of the block before."""
        return remember(state, k, v, self.config.block)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys of the newest token's block."""
        start = group_starts(state.length - 1, self.config.block, self.heads)
        hidden = (positions(state)[:, None] < start)[:, :, None]
        return attend_visible(q / self.head_width**0.5, state.k, state.v, hidden)
