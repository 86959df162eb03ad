"""Linformer: softmax attention to keys and values that are projected along the sequence."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant


@register_variant(
    name="linformer",
    family="linear",
    patterns="ns",
    summary="softmax attention to a fixed number of learned mixtures of the keys",
    paper="Linformer: Self-Attention with Linear Complexity (Wang et al.)",
    year=2020,
    arxiv="2006.04768",
    padding="position",
    time="N rank d",
    memory="N rank H",
    fixed_length=True,
    published_defaults="ranks of a quarter to a half of 512 and 1,024 tokens, compression 4 in "
    "the authors' code; here 16 of 128, to stay within the parameter budget",
    added="2026-11-21",
)
class LinformerAttention(MultiHeadAttention):
    r"""Attend to r mixtures of keys and of values, by a learned P of r rows over positions.

    .. math:: o_t = \sum_i \mathrm{softmax}_i(q_t \cdot (P k)_i / \sqrt{E}) (P v)_i

    P is one for keys and values and for all heads (the paper's key-value sharing), as wide as
    max_length; a shorter sequence uses its first columns. A causal form would need a P per
    position, so there is none.
    """

    @dataclass(frozen=True)
    class Config:
        """rank: mixtures of keys."""

        rank: int = 16

        def __post_init__(self) -> None:
            if self.rank < 1:
                raise ValueError("rank must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        shape = self.config.rank, self.max_length
        self.projection = nn.Parameter(torch.randn(shape) / self.max_length**0.5)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. Padded keys and values are 0 and add nothing to a mixture."""
        projection = self.projection[:, : k.shape[2]]
        return F.scaled_dot_product_attention(q, projection @ k, projection @ v)
