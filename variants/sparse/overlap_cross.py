"""Overlapping cross-attention of HAT: windows of queries read larger windows of keys."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._halo import attend_with_halo


@register_variant(
    name="overlap-cross",
    family="sparse",
    patterns="ns",
    summary="softmax of a window's queries over a window that is `overlap` tokens larger on each "
    "side",
    paper="Activating More Pixels in Image Super-Resolution Transformer (Chen et al.)",
    year=2022,
    arxiv="2205.04437",
    time="N (window + 2 overlap)^2 d",
    memory="N (window + 2 overlap)^2",
    sees="0 <= row_s + overlap - row_t // window window < window + 2 overlap "
    "and 0 <= column_s + overlap - column_t // window window < window + 2 overlap",
    needs_grid=True,
    budget="overlap",
    published_defaults="windows of 16 x 16 read 24 x 24 (4 more on each side) of 64 x 64 tokens; "
    "here 2 x 2 read 4 x 4 (1 more on each side) of 8 x 8, a ratio of 1 in place of 0.5, which "
    "would be halo's default",
    added="2026-11-21",
)
class OverlappingCrossAttention(MultiHeadAttention):
    r"""Softmax of the queries of a window of M x M over the keys of one of M + 2p a side.

    .. math:: V_t = \{s : -p \le i_s - M \lfloor i_t / M \rfloor < M + p\ \text{on both axes}\},
              \quad o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    where i is the row, and the column; the paper names the ratio 2p / M. Windows overlap, though
    their queries do not. The function is that of `halo`, found for super-resolution, with smaller
    windows by default. Outside the picture there is nothing to see (the paper reads zeros
    there), and its bias by relative position is left to the backbone.
    """

    @dataclass(frozen=True)
    class Config:
        """window: tokens on a side, of queries. overlap: how many more on each side, of keys."""

        window: int = 2
        overlap: int = 1

        def __post_init__(self) -> None:
            if self.window < 1 or self.overlap < 0:
                raise ValueError("window must be at least 1 and overlap not negative")

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
        q, window, overlap = q / self.head_width**0.5, self.config.window, self.config.overlap
        return attend_with_halo(q, k, v, key_padding_mask, self.grid, window, overlap)
