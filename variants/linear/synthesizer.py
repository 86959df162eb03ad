"""Synthesizer: attention weights that each token predicts without keys."""

import math
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible


@register_variant(
    name="synthesizer",
    family="linear",
    patterns="ns",
    summary="each token predicts its attention weights over positions from its own features",
    paper="Synthesizer: Rethinking Self-Attention in Transformer Models (Tay et al.)",
    year=2020,
    arxiv="2005.00743",
    padding="position",
    time="N^2 d",
    memory="N^2 H",
    fixed_length=True,
    published_defaults="factors of similar size; here the square root of max_length, rounded up",
    added="2026-11-21",
)
class SynthesizerAttention(Attention):
    r"""Predict the logits of a token's row from the token (the factorised dense form).

    .. math:: o_t = \sum_s \mathrm{softmax}_s(a_{t, s // m} \, b_{t, s \bmod m}) v_s, \quad
              a_t = A h_t, \quad b_t = B h_t, \quad h_t = \mathrm{relu}(W x_t)

    a and b have about :math:`\sqrt{L}` entries, L being max_length, in place of L for a whole
    row; a shorter sequence uses the first N logits. As in the paper, weights do not depend on
    what stands at the other positions. Its two factors have a hidden layer each; here they
    share h, within each head.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.hidden = nn.Linear(self.dim, self.dim)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        rows = math.isqrt(self.max_length - 1) + 1
        columns = -(-self.max_length // rows)
        width = self.dim // self.heads
        self.row_map, self.column_map = (
            nn.Parameter(torch.randn(self.heads, width, size) / width**0.5)
            for size in (rows, columns)
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Predict the weights, mix, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        hidden, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.hidden(x).relu(), self.value(x))
        )
        a, b = hidden @ self.row_map, hidden @ self.column_map
        logits = (a[..., :, None] * b[..., None, :]).flatten(3)[..., : x.shape[1]]
        padded = padded_keys(v, key_padding_mask)[:, None, None, :]
        mixed = softmax_over_visible(logits, padded) @ v
        return self.output(mixed.transpose(1, 2).flatten(2))
