"""Blocked local attention of HaloNet: blocks of an image see themselves and a halo around them."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._halo import attend_with_halo


@register_variant(
    name="halo",
    family="sparse",
    patterns="ns",
    summary="softmax of a block's queries over the block and `halo` tokens around it",
    paper="Scaling Local Self-Attention for Parameter Efficient Visual Backbones (Vaswani et al.)",
    year=2021,
    arxiv="2103.12731",
    time="N (block + 2 halo)^2 d",
    memory="N (block + 2 halo)^2",
    sees="0 <= row_s + halo - row_t // block block < block + 2 halo "
    "and 0 <= column_s + halo - column_t // block block < block + 2 halo",
    needs_grid=True,
    budget="halo",
    published_defaults="blocks of 8 x 8 and a halo of 3 on images down to 16 x 16 tokens; here "
    "about half, 4 x 4 and 1, on 8 x 8",
    added="2026-11-21",
)
class HaloAttention(MultiHeadAttention):
    r"""Softmax over the query's block of b x b tokens and the h tokens around it.

    .. math:: V_t = \{s : -h \le i_s - b \lfloor i_t / b \rfloor < b + h\ \text{on both axes}\},
              \quad o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    where i is the row, and the column. The first block begins in the upper left corner. Places
    outside the picture are not seen (the paper fills them with zeros), and its relative positions
    are left to the backbone.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens on a side of a block. halo: how far its queries see beyond it."""

        block: int = 4
        halo: int = 1

        def __post_init__(self) -> None:
            if self.block < 1 or self.halo < 0:
                raise ValueError("block must be at least 1 and halo not negative")

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
        assert self.grid is not None
        q, block, halo = q / self.head_width**0.5, self.config.block, self.config.halo
        return attend_with_halo(q, k, v, key_padding_mask, self.grid, block, halo)
