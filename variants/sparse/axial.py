"""Axial attention: along the rows of an image, then along its columns."""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import absent_places, to_picture


@register_variant(
    name="axial",
    family="sparse",
    patterns="ns",
    summary="softmax along rows, then along columns, so that two steps connect all tokens",
    paper="Axial Attention in Multidimensional Transformers (Ho, Kalchbrenner, Weissenborn, "
    "Salimans)",
    year=2019,
    arxiv="1912.12180",
    time="N sqrt(N) d",
    memory="N sqrt(N)",
    sees="all",
    needs_grid=True,
    published_defaults="whole rows and columns, as here",
    added="2026-11-21",
)
class AxialAttention(MultiHeadAttention):
    r"""Factorise the attention of an image into two axes, :math:`o = A^{columns} A^{rows} v`.

    .. math:: u_{ij} = \sum_{j'} \mathrm{softmax}_{j'}(q_{ij} \cdot k_{ij'} / \sqrt{E}) v_{ij'}

    .. math:: o_{ij} = \sum_{i'} \mathrm{softmax}_{i'}(q_{ij} \cdot k_{i'j} / \sqrt{E}) u_{i'j}

    Token (i, j) reads (i', j') through (i', j), its own column's token in that row. The paper
    stacks a layer of each axis with projections of its own; here one set of queries and keys
    serves both, so that a layer has softmax's parameters and, on a picture of one row, its output.
    MORPH (arXiv 2509.21670) has a set per axis and adds their outputs. Padded tokens pass
    nothing on. The cost is N (rows + columns), on squares :math:`2 N^{1.5}`.
    """

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
        absent = absent_places(k, key_padding_mask, self.grid)
        q, k, v = (to_picture(x, self.grid) for x in (q / self.head_width**0.5, k, v))
        mixed = attend_visible(q, k, v, absent.mT)
        q, k, mixed, absent = (x.transpose(2, 3) for x in (q, k, mixed, absent))
        return attend_visible(q, k, mixed, absent.mT).transpose(2, 3).flatten(2, 3)
