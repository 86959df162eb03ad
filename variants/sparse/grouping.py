"""Long-range grouping: tokens of an image that lie a step apart attend to one another."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import absent_places, from_lattices, to_lattices, to_picture


@register_variant(
    name="grouping",
    family="sparse",
    patterns="ns",
    summary="softmax within groups of image tokens that lie `step` apart, and a 3 x 3 convolution",
    paper="Long-Range Grouping Transformer for Multi-View 3D Reconstruction (Yang, Zhu, Lin, "
    "Nong, Liang)",
    year=2023,
    arxiv="2308.08724",
    padding="position",
    time="N (N / step^2 + 9) d",
    memory="N (N / step^2 + 9)",
    sees="row_t % step == row_s % step and column_t % step == column_s % step "
    "or abs(row_t - row_s) < 2 and abs(column_t - column_s) < 2",
    needs_grid=True,
    published_defaults="49 groups, a step of 7 in views of 14 x 14 tokens, in every other layer "
    "of the second half; here a step of 4 in images of 8 x 8, in every layer",
    added="2026-11-30",
)
class LongRangeGrouping(MultiHeadAttention):
    r"""Softmax over the tokens with the same row and column modulo g, plus a local term.

    .. math:: V_t = \{s : i_s \equiv i_t,\ j_s \equiv j_t \pmod g\}, \quad
              o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s
              + (w * v)_t

    with row i, column j and a depthwise 3 x 3 convolution w with a bias (the inter-view feature
    signature). In the paper a group holds the tokens with these remainders from all views of an
    object, each view a picture of its own. A task here gives one picture; views that are stacked
    in it one above another, each of a height that g divides, form the same groups.
    """

    @dataclass(frozen=True)
    class Config:
        """step: g, the distance between neighbours of a group on either axis."""

        step: int = 4

        def __post_init__(self) -> None:
            if self.step < 1:
                raise ValueError("step must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.local = nn.Conv2d(self.dim, self.dim, 3, padding=1, groups=self.dim)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose group is all padding gets the local term alone."""
        assert self.grid is not None
        rows, columns = self.grid
        steps = min(self.config.step, rows), min(self.config.step, columns)
        inner = -(-rows // steps[0]), -(-columns // steps[1])
        queries, keys, values = (
            to_lattices(to_picture(x, self.grid), steps).flatten(4, 5)
            for x in (q / self.head_width**0.5, k, v)
        )
        absent = to_lattices(absent_places(k, key_padding_mask, self.grid), steps, fill=True)
        mixed = attend_visible(queries, keys, values, absent.flatten(4, 5).mT)
        mixed = from_lattices(mixed.unflatten(4, inner), self.grid).flatten(2, 3)
        picture = self.merge_heads(v).mT.unflatten(2, self.grid)
        return mixed + self.split_heads(self.local(picture).flatten(2).mT)
