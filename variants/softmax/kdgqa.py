"""Key-driven grouped-query attention: groups get query heads by the norms of their keys."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.registry import register_variant
from cab.variants.softmax._masked import softmax_attention
from cab.variants.softmax._query_groups import QueryGroups, heads_by_share


@register_variant(
    name="kdgqa",
    family="softmax",
    patterns="ns nc",
    extended="nc",
    summary="grouped-query attention in which key heads with longer keys serve more query heads",
    paper="Beyond Uniform Query Distribution: Key-Driven Grouped Query Attention (Khan, Khaquan, "
    "Tafveez, Samiwala, Raza)",
    year=2024,
    arxiv="2408.08454",
    time="N M d",
    memory="N M H",
    published_defaults="half as many key heads as query heads, with norms summed over the batch; "
    "here groups of 2 query heads, and norms of each example alone",
    added="2026-11-30",
)
class KeyDrivenGroupedQueryAttention(QueryGroups):
    r"""Share G key and value heads among H query heads in proportion to the keys' norms.

    .. math:: n_g = \lVert K_g \rVert_F, \quad
              \hat n_g = \frac{n_g - \min n}{\max n - \min n}, \quad
              h_g = \mathrm{round}\left(H \hat n_g / \sum_j \hat n_j\right)

    The first h_1 query heads use the keys and values of group 1, and so on; within a group it is
    softmax attention over the unpadded keys, so that work grows with N M. Where rounding gives
    more heads than there are, the largest groups give some back; where it gives fewer, the
    smallest groups get them (the authors' code). As the smallest norm becomes 0, that group is
    mostly left without heads: of 2 groups all heads use the one with longer keys.

    The norms run over all M keys, so there is no causal form. The authors sum them over the batch,
    which lets examples read each other; here each example has its own. G is H / heads_per_group,
    rounded up. Which head uses which group has no gradient.
    """

    @dataclass(frozen=True)
    class Config:
        """heads_per_group: query heads for each key head, on average."""

        heads_per_group: int = 2

        def __post_init__(self) -> None:
            if self.heads_per_group < 1:
                raise ValueError("heads_per_group must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B G M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Allot the query heads, then attend; 0 for a query that sees nothing."""
        # Padded keys are 0. In float32 at least, so that near norms stay apart.
        norms = k.detach().to(torch.promote_types(k.dtype, torch.float32)).norm(dim=(2, 3))
        norms = norms - norms.amin(dim=1, keepdim=True)
        norms = torch.where(norms.sum(dim=1, keepdim=True) > 0, norms, 1.0)
        group = heads_by_share(norms, self.heads, smallest_first=True)[..., None, None]
        k, v = (x.take_along_dim(group, dim=1) for x in (k, v))
        return softmax_attention(q, k, v, causal=False, key_padding_mask=key_padding_mask)
