"""cosFormer: linear attention whose weights decrease with distance as a cosine."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import hide, normalise, with_ones


class PlacedSum(NamedTuple):
    """The decode state: the sum of features times [v, 1]^T, and how many tokens came."""

    total: Float[Tensor, "B H F V"]
    count: Int[Tensor, "B 1"]


@register_variant(
    name="cosformer",
    family="linear",
    patterns="ns cs nc",
    extended="nc",
    summary="products of rectified queries and keys, reweighted by the cosine of their distance",
    paper="cosFormer: Rethinking Softmax in Attention (Qin et al.)",
    year=2022,
    arxiv="2202.08791",
    time="N d^2",
    memory="N d",
    state="2 E (E + 1) + 1/H",
    fixed_length=True,
    published_defaults="reweighted over the longest sequence of the batch; here over max_length, "
    "which is 4 times the training length on tasks with longer tests",
    added="2026-11-21",
)
class CosformerAttention(DecodingAttention):
    r"""Weigh values by rectified products and by distance.

    .. math:: o_t = \frac{\sum_{s \in V_t} w_{ts} v_s}{\sum_{s \in V_t} w_{ts}}, \quad
              w_{ts} = \mathrm{relu}(q_t) \cdot \mathrm{relu}(k_s)
              \cos\left(\frac{\pi}{2} \frac{t - s}{L}\right)

    The cosine of a difference is a sum of two products, so each feature becomes two. L is
    max_length and not the length at hand, on which a causal output may not depend; positions
    count unpadded tokens, so all weights are at least 0. Where all are 0, so is the output.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk of the causal form; it changes the cost, not the result."""

        chunk: int = 64

        def __post_init__(self) -> None:
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H N E"]:
        queries = self._features(
            q, _positions(q, None if self.pattern.cross else key_padding_mask)
        )
        keys = hide(self._features(k, _positions(k, key_padding_mask)), key_padding_mask)
        if self.pattern.causal:
            sums = causal_linear_attention(queries, keys, with_ones(v), self.config.chunk)
        else:
            sums = queries @ (keys.mT @ with_ones(v))
        return normalise(sums)

    def absorb(
        self,
        state: PlacedSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> PlacedSum:
        """Add the keys at the next positions."""
        if state is None:
            batch, heads, _, width = k.shape
            count = torch.zeros(batch, 1, dtype=torch.long, device=k.device)
            state = PlacedSum(k.new_zeros(batch, heads, 2 * width, width + 1), count)
        keys = self._features(k, state.count + _positions(k, None))
        total = state.total + keys.mT @ with_ones(v)
        return PlacedSum(total, state.count + k.shape[2])

    def recall(self, q: Float[Tensor, "B H 1 E"], state: PlacedSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with the query of the last token."""
        return normalise(self._features(q, state.count - 1) @ state.total)

    def _features(
        self, x: Float[Tensor, "B H N E"], positions: Int[Tensor, "_ N"]
    ) -> Float[Tensor, "B H N F"]:
        if positions.numel() and (last := int(positions.max())) >= self.max_length:
            raise ValueError(
                f"cosformer was built for max_length = {self.max_length} tokens and met "
                f"{last + 1}: beyond it weights would turn negative. Build it with a larger one."
            )
        angle = positions[:, None, :, None].to(torch.promote_types(x.dtype, torch.float32))
        angle = angle * (math.pi / 2 / self.max_length)
        x = x.relu()
        return torch.cat((x * angle.cos().to(x.dtype), x * angle.sin().to(x.dtype)), dim=-1)


def _positions(
    x: Float[Tensor, "B H N E"], padding: Bool[Tensor, "B N"] | None
) -> Int[Tensor, "_ N"]:
    """Number the unpadded positions from 0."""
    if padding is None:
        return torch.arange(x.shape[2], device=x.device)[None]
    return ((~padding).cumsum(dim=1) - 1).clamp(min=0)
