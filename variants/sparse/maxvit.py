"""Multi-axis attention of MaxViT: within blocks of an image, then over grids across it."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import (
    absent_places,
    from_lattices,
    from_tiles,
    to_lattices,
    to_picture,
    to_tiles,
)


@register_variant(
    name="maxvit",
    family="sparse",
    patterns="ns",
    summary="softmax within blocks of an image, then over tokens spread evenly across it",
    paper="MaxViT: Multi-Axis Vision Transformer (Tu et al.)",
    year=2022,
    arxiv="2204.01697",
    time="N (block^2 + cells^2) d",
    memory="N (block^2 + cells^2)",
    sees="row_s // block block + (row_t - row_s // block block) % ceil(rows / cells) "
    "< min(rows, row_s // block block + block) and column_s // block block "
    "+ (column_t - column_s // block block) % ceil(columns / cells) "
    "< min(columns, column_s // block block + block)",
    needs_grid=True,
    published_defaults="blocks of 7 x 7 and grids of 7 x 7 on 56 x 56 to 7 x 7 tokens; here 4 x "
    "4 and 4 x 4, for images of 8 x 8",
    added="2026-11-21",
)
class MultiAxisAttention(MultiHeadAttention):
    r"""Mix in blocks of P x P tokens, then over grids of G x G: :math:`o = A^{grid} A^{block} v`.

    .. math:: u_t = \sum_{s \in B_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s, \quad
              o_t = \sum_{s \in G_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) u_s

    B_t are the tokens of t's block, G_t those of every :math:`\lceil R / G \rceil`-th row and
    :math:`\lceil C / G \rceil`-th column counted from t, of R rows and C columns. A query reads
    the blocks in which one of its grid stands, hence all whole blocks where these are at least as
    long as those steps. The paper stacks two layers with projections, norms and feed-forward
    parts of their own, after a convolution; here one set of queries and keys serves both, which
    leaves softmax's parameters. Padded tokens pass nothing on.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens on a side of a block, P above. cells: those on a side of a grid, G."""

        block: int = 4
        cells: int = 4

        def __post_init__(self) -> None:
            if self.block < 1 or self.cells < 1:
                raise ValueError("block and cells must be at least 1")

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
        rows, columns = self.grid
        absent = absent_places(k, key_padding_mask, self.grid)
        q, k, v = (to_picture(x, self.grid) for x in (q / self.head_width**0.5, k, v))

        tile = min(self.config.block, rows), min(self.config.block, columns)
        queries, keys, values = (to_tiles(x, tile) for x in (q, k, v))
        hidden = to_tiles(absent, tile, fill=True).mT
        mixed = from_tiles(attend_visible(queries, keys, values, hidden), tile, self.grid)

        steps = -(-rows // self.config.cells), -(-columns // self.config.cells)
        lattices = [to_lattices(x, steps) for x in (q, k, mixed)]
        queries, keys, values = (x.flatten(-3, -2) for x in lattices)
        hidden = to_lattices(absent, steps, fill=True).flatten(-3, -2).mT
        mixed = attend_visible(queries, keys, values, hidden)
        mixed = mixed.unflatten(-2, lattices[0].shape[-3:-1])
        return from_lattices(mixed, self.grid).flatten(2, 3)
