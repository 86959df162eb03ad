"""Single-head attention on a part of the channels; the others are unchanged."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="single-head",
    family="softmax",
    patterns="ns",
    summary="softmax attention with one head on some of the channels; the others are unchanged",
    paper="SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design (Yun, Ro)",
    year=2024,
    arxiv="2401.16456",
    time="N^2 d",
    memory="N^2",
    published_defaults="1/4.67 of the channels, queries and keys of width 16; the same here, but "
    "no wider than the channels that attend (7 of 32, 14 of 64)",
    added="2026-11-21",
)
class SingleHeadAttention(Attention):
    r"""Attend on the first C of the channels, :math:`x = (x^a, x^r)`.

    .. math:: y_t = W_o \left(\sum_s \mathrm{softmax}_s
              (W_q x_t^a \cdot W_k x_s^a / \sqrt{K}) W_v x_s^a, \; x_t^r\right)

    s are the unpadded tokens, K the width of queries and keys, C where that is less than the
    setting, as it is at model widths up to 72 by default. The number of heads
    plays no part. The paper's code normalises :math:`x^a` first and puts a ReLU before the output
    projection; the backbone normalises here, and the formula of the paper has no ReLU.
    """

    @dataclass(frozen=True)
    class Config:
        """channels: the part of the model's width that attends. key_width: of queries, keys."""

        channels: float = 1 / 4.67
        key_width: int = 16

        def __post_init__(self) -> None:
            if not 0 < self.channels <= 1:
                raise ValueError("channels must be above 0 and at most 1")
            if self.key_width < 1:
                raise ValueError("key_width must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        attending = max(1, round(self.config.channels * self.dim))
        key_width = min(self.config.key_width, attending)
        self.parts = (attending, self.dim - attending)
        self.query = nn.Linear(attending, key_width, bias=False)
        self.key = nn.Linear(attending, key_width, bias=False)
        self.value = nn.Linear(attending, attending, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend with a part, pass the rest, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        attending, rest = x.split(self.parts, dim=-1)
        q, k, v = (read(attending)[:, None] for read in (self.query, self.key, self.value))
        mixed = softmax_attention(q, k, v, causal=False, key_padding_mask=key_padding_mask)
        return self.output(torch.cat((mixed[:, 0], rest), dim=-1))
