"""Inward sliding window of FreeSwim: a window around each token, shifted inward at the borders."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._neighborhood import attend_in_neighborhoods


@register_variant(
    name="inward-window",
    family="sparse",
    patterns="ns",
    summary="softmax over a window of an image that keeps its size at the borders",
    paper="FreeSwim: Revisiting Sliding-Window Attention Mechanisms for Training-Free "
    "Ultra-High-Resolution Video Generation (Wu et al.)",
    year=2025,
    arxiv="2511.14712",
    time="N (2 down + 1) (2 across + 1) d",
    memory="N (2 down + 1) (2 across + 1)",
    sees="0 <= row_s - max(0, min(row_t - down, rows - 2 down - 1)) <= 2 down "
    "and 0 <= column_s - max(0, min(column_t - across, columns - 2 across - 1)) <= 2 across",
    needs_grid=True,
    published_defaults="the grid of the training resolution, such as 30 x 52, on a larger one, "
    "such as 68 x 120; here 3 x 5 on 8 x 8, a similar shape and share",
    added="2026-11-21",
)
class InwardWindowAttention(MultiHeadAttention):
    r"""Softmax over a window of 2h + 1 rows and 2w + 1 columns, complete also at the borders.

    .. math:: V_t = \{s : i_t - h - [h + i_t - R + 1]_+ \le i_s \le i_t + h + [h - i_t]_+\},
              \quad o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    and in the same way of columns: what a border takes from one side is added on the other, so
    that every query reads as many tokens as in training. That is `neighborhood-2d` with a
    window for each axis and no dilation, computed in the same tiles: about nine times the work
    of the card's formula, which counts the tokens that are read. The paper slides it over a
    trained video model, in each frame, beside a branch of full attention and with a scale that
    follows the resolution; here pictures are single and a model is trained with it.
    """

    @dataclass(frozen=True)
    class Config:
        """down: rows seen above and below, h. across: columns seen left and right, w."""

        down: int = 1
        across: int = 2

        def __post_init__(self) -> None:
            if self.down < 0 or self.across < 0:
                raise ValueError("down and across must not be negative")

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
        assert self.grid is not None
        return attend_in_neighborhoods(
            q / self.head_width**0.5,
            k,
            v,
            key_padding_mask,
            grid=self.grid,
            kernel=(2 * self.config.down + 1, 2 * self.config.across + 1),
        )
