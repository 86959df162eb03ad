"""Dual attention of DaViT: within windows of an image, then between the channels of a head."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._halo import attend_with_halo


@register_variant(
    name="davit",
    family="sparse",
    patterns="ns",
    summary="softmax within windows of an image, then between the channels of the whole image",
    paper="DaViT: Dual Attention Vision Transformers (Ding et al.)",
    year=2022,
    arxiv="2204.03645",
    time="N (window^2 + E) d",
    memory="N (window^2 + E)",
    needs_grid=True,
    published_defaults="windows of 7 x 7 on 56 x 56 to 7 x 7 tokens, groups of 32 channels; here "
    "4 x 4, for images of 8 x 8, and one group per head",
    added="2026-11-21",
)
class DualAttention(MultiHeadAttention):
    r"""Mix tokens within windows, then channels within heads, :math:`o_t = A u_t`.

    .. math:: u_t = \sum_{s \in W_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s, \quad
              A_{ij} = \mathrm{softmax}_j \Big(\sum_s q_{si} k_{sj} / \sqrt{E}\Big)

    W_t are the tokens of t's window of P x P; the sum is over all unpadded tokens, so that every
    output depends on the whole picture through A. The paper stacks two layers with
    projections, norms and feed-forward parts of their own; here one set of queries and keys
    serves both, which leaves softmax's parameters. `channel` is the second stage alone.
    """

    @dataclass(frozen=True)
    class Config:
        """window: tokens on a side of a window, P above."""

        window: int = 4

        def __post_init__(self) -> None:
            if self.window < 1:
                raise ValueError("window must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. Padded tokens come as zeros, which add nothing to the products."""
        assert self.grid is not None
        q = q / self.head_width**0.5
        mixed = attend_with_halo(q, k, v, key_padding_mask, self.grid, self.config.window, 0)
        return mixed @ (q.mT @ k).softmax(dim=-1).mT
