"""InLine attention: linear attention normalised by subtraction, with a local term."""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.registry import register_variant


@register_variant(
    name="inline",
    family="linear",
    patterns="ns",
    summary="linear attention with weights shifted to sum to 1, plus a predicted local term",
    paper="Bridging the Divide: Reconsidering Softmax and Linear Attention (Han et al.)",
    year=2024,
    arxiv="2412.06590",
    padding="distance",
    time="N d^2",
    memory="N d",
    published_defaults="no feature map, 3 x 3 neighbours; the same here, 3 in a sequence",
    added="2026-11-21",
)
class InlineAttention(MultiHeadAttention):
    r"""Normalise weights by subtraction, and add neighbours with weights from the mean token.

    .. math:: o_t = \sum_s w_{ts} v_s + \sum_i r_i v_{t + i}, \quad
              w_{ts} = \frac{q_t \cdot (k_s - \bar k)}{N \sqrt{E}} + \frac{1}{N}, \quad
              r = \mathrm{MLP}(\bar x)

    over the N unpadded tokens, i over the 3 x 3 neighbourhood of a picture or the 3 of a
    sequence. Subtraction in place of division lets queries that differ in length alone give
    weights that differ. The MLP acts within heads and predicts one weight per head and
    neighbour; the authors' code predicts them per channel, which at short lengths would be most
    of the parameters. The means hold every token, so there is no causal form.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.window = (1, 3) if self.grid is None else (3, 3)
        neighbours = self.window[0] * self.window[1]
        self.local_weights = nn.Sequential(
            nn.Conv1d(self.dim, self.dim, 1, groups=self.heads),
            nn.GELU(),
            nn.Conv1d(self.dim, self.heads * neighbours, 1, groups=self.heads),
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix all tokens and neighbours, project. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        # Padded tokens are 0, and so are their keys and values: only the count needs the mask.
        count = torch.full_like(x[:, :1, :1], x.shape[1])
        if key_padding_mask is not None:
            count = (~key_padding_mask).sum(dim=1).clamp(min=1)[:, None, None].to(x.dtype)
        q, k, v = (
            self.split_heads(part)
            for part in (self.query(x), self.key(source), self.value(source))
        )
        mixed = self._attend_globally(q, k, v, count[:, None])
        weights = self.local_weights((x.sum(dim=1, keepdim=True) / count).mT)
        near = self._attend_locally(self.merge_heads(v), weights)
        return self.output(self.merge_heads(mixed) + near)

    def _attend_globally(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        count: Float[Tensor, "B 1 1 1"],
    ) -> Float[Tensor, "B H N E"]:
        mean_key, mean_value = (x.sum(dim=2, keepdim=True) / count for x in (k, v))
        # sum_s (k_s - mean) v_s = sum_s k_s v_s - N mean mean^T, so that padding stays 0
        covariance = (k / count).mT @ v - mean_key.mT @ mean_value
        return (q / self.head_width**0.5) @ covariance + mean_value

    def _attend_locally(
        self, v: Float[Tensor, "B N D"], weights: Float[Tensor, "B R 1"]
    ) -> Float[Tensor, "B N D"]:
        """Convolve with weights of each row and head; a sequence is a picture of one row."""
        batch, length, dim = v.shape
        columns = length if self.grid is None else self.grid[1]
        picture = F.pad(v, (0, 0, 0, -length % columns)).unflatten(1, (-1, columns))
        kernel = weights.reshape(batch * self.heads, 1, 1, *self.window)
        kernel = kernel.repeat_interleave(self.head_width, dim=0)
        images = picture.permute(0, 3, 1, 2).reshape(1, batch * dim, -1, columns)
        padding = (self.window[0] // 2, self.window[1] // 2)
        near = F.conv2d(images, kernel.flatten(1, 2), padding=padding, groups=batch * dim)
        return near.reshape(batch, dim, -1).mT[:, :length]
