"""MSA-Conv: softmax attention in the place of the kernel of a convolution."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._pictures import to_picture


@register_variant(
    name="msa-conv",
    family="sparse",
    patterns="ns",
    summary="softmax over the places that a convolution's kernel covers, zeros beyond the border "
    "included",
    paper="TiC: Exploring Vision Transformer in Convolution (Zhang, Wang, Bian, Xiong)",
    year=2023,
    arxiv="2310.04134",
    padding="position",
    time="N kernel^2 d",
    memory="N kernel^2 d",
    sees="abs(row_t - row_s) <= dilation (kernel // 2) and (row_t - row_s) % dilation == 0 and "
    "abs(column_t - column_s) <= dilation (kernel // 2) and "
    "(column_t - column_s) % dilation == 0",
    needs_grid=True,
    published_defaults="dilation 1 in the authors' code, as here, and no kernel size of its own; "
    "here 3 x 3 places",
    added="2026-11-30",
)
class MSAConvolution(MultiHeadAttention):
    r"""Softmax over the K x K places of a kernel with dilation r, laid on each token.

    .. math:: o_t = \sum_{i, j = -\lfloor K / 2 \rfloor}^{\lfloor K / 2 \rfloor}
              \mathrm{softmax}_{ij}(q_t \cdot k_{t + r (i, j)} / \sqrt{E}) v_{t + r (i, j)}

    t + r (i, j) is the place r i rows and r j columns from token t. As a convolution does, the
    kernel covers zeros beyond the border: such places have keys and values 0 and take their part
    of the softmax, which tells tokens near the border that they are there. Padded tokens count as
    such places. The paper's network TiC also shifts the picture cyclically in several directions
    and pools between layers, and puts a convolution behind; these belong to its blocks.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel: rows and columns that it covers, odd. dilation: the distance between them."""

        kernel: int = 3
        dilation: int = 1

        def __post_init__(self) -> None:
            if min(self.kernel, self.dilation) < 1 or self.kernel % 2 == 0:
                raise ValueError("kernel must be odd, and kernel and dilation at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. Padded tokens come as zeros, and their keys and values are 0."""
        assert self.grid is not None
        queries = to_picture(q / self.head_width**0.5, self.grid)[..., None, :]
        keys, values = (self._windows(x) for x in (k, v))
        mixed = (queries @ keys.mT).softmax(dim=-1) @ values
        return mixed.squeeze(-2).flatten(2, 3)

    def _windows(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H R C K E"]:
        """Return what the kernel covers at each place of the picture."""
        assert self.grid is not None
        (rows, columns), step = self.grid, self.config.dilation
        reach = step * (self.config.kernel // 2)
        picture = F.pad(to_picture(x, self.grid), (0, 0, reach, reach, reach, reach))
        places = [
            picture[:, :, i : i + rows, j : j + columns]
            for i in range(0, 2 * reach + 1, step)
            for j in range(0, 2 * reach + 1, step)
        ]
        return torch.stack(places, dim=4)
