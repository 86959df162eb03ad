"""Neighbourhood attention on images: each token sees the k x k tokens nearest to it."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._neighborhood import attend_in_neighborhoods


@register_variant(
    name="neighborhood-2d",
    family="sparse",
    patterns="ns",
    summary="softmax over the `kernel` x `kernel` nearest tokens of an image",
    paper="Faster Neighborhood Attention: Reducing the O(n^2) Cost of Self Attention at the "
    "Threadblock Level (Hassani, Hwu, Shi)",
    year=2024,
    arxiv="2403.04690",
    time="N kernel^2 d",
    memory="N kernel^2",
    sees="row_t % dilation == row_s % dilation and column_t % dilation == column_s % dilation "
    "and 0 <= row_s // dilation - max(0, min(row_t // dilation - kernel // 2, "
    "(rows - 1 - row_t % dilation) // dilation + 1 - kernel)) < kernel "
    "and 0 <= column_s // dilation - max(0, min(column_t // dilation - kernel // 2, "
    "(columns - 1 - column_t % dilation) // dilation + 1 - kernel)) < kernel",
    needs_grid=True,
    budget="kernel",
    published_defaults="kernel 7 on grids from 56 x 56 to 7 x 7, dilated in every second layer; "
    "here 5 on 8 x 8, not dilated",
    added="2026-11-21",
)
class NeighborhoodAttention2d(MultiHeadAttention):
    r"""Softmax over the product of two windows, one of rows and one of columns.

    .. math:: o_t = \sum_{s \in \rho(t)} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    On one axis of L places the window of place t is the k places from :math:`a = \max(0, \min(t -
    \lfloor k / 2 \rfloor, L - k))` on: centred, pushed inward at the borders, and everything if
    L is below k. With dilation d that holds within each set of places with the same remainder by
    d. A tile of k x k queries meets the (3 k - 2)^2 tokens up to k - 1 beyond it and masks those
    outside its windows: about nine times the work of the formula N k^2 d. The paper's bias by
    relative position is left to the backbone, as all positions are.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel: places of a window, on both axes. dilation: steps between them."""

        kernel: int = 5
        dilation: int = 1

        def __post_init__(self) -> None:
            if self.kernel < 1 or self.dilation < 1:
                raise ValueError("kernel and dilation must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose neighbourhood is all padding gets 0."""
        kernel, dilation = self.config.kernel, self.config.dilation
        assert self.grid is not None
        return attend_in_neighborhoods(
            q / self.head_width**0.5,
            k,
            v,
            key_padding_mask,
            grid=self.grid,
            kernel=(kernel, kernel),
            dilation=(dilation, dilation),
        )
