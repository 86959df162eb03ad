"""Bidirectional attention flow: each token reads the context, and the context picks a token."""

from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="bidaf",
    family="softmax",
    patterns="nc",
    summary="attention from the stream to the context and back, by one trilinear similarity",
    paper="Bidirectional Attention Flow for Machine Comprehension (Seo, Kembhavi, Farhadi, "
    "Hajishirzi)",
    year=2016,
    arxiv="1611.01603",
    time="N M d",
    memory="N M + N d",
    published_defaults="streams of width 200 from a bidirectional LSTM, and two LSTM layers after "
    "the attention; here the layer alone, with an output projection",
    added="2026-11-30",
)
class BidirectionalAttentionFlow(Attention):
    r"""Read the context for each token (A), and weigh the tokens by what the context asks (b).

    .. math:: S_{ts} = w^\top [x_t; z_s; x_t \circ z_s], \quad
              \tilde z_t = \sum_s \mathrm{softmax}_s(S_{ts}) z_s, \quad
              \tilde x = \sum_t \mathrm{softmax}_t(\max_s S_{ts}) x_t

    .. math:: y_t = W_o [x_t; \tilde z_t; x_t \circ \tilde z_t; x_t \circ \tilde x]

    x is the stream (N tokens; the paragraph in the paper), z the context without its padding (M
    tokens; the question). There are no heads and no query, key or value projections. Work and
    memory grow with N M. W_o takes the place of the LSTM that follows in the paper. The sum
    :math:`\tilde x` runs over the whole stream, padding included, as a cross pattern has no mask
    for its queries; so there is no causal form. Where all of the context is padding,
    :math:`\tilde z` and :math:`\tilde x` are 0.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.of_stream, self.of_context, self.of_product = (
            nn.Parameter(torch.randn(self.dim) / self.dim**0.5) for _ in range(3)
        )
        self.output = nn.Linear(4 * self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend in both directions and merge. See `Attention.forward`."""
        x, z = read_source(self.pattern, x, context, key_padding_mask)
        hidden = hidden_pairs(
            x[:, None], z[:, None], causal=False, key_padding_mask=key_padding_mask
        )
        scores = ((x * self.of_product) @ z.mT)[:, None]
        scores = scores + (x @ self.of_stream)[:, None, :, None]
        scores = scores + (z @ self.of_context)[:, None, None, :]
        asked = masked_softmax(scores, hidden)[:, 0] @ z
        best = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).amax(dim=-1)
        picked = best.softmax(dim=-1) @ x
        picked = picked.masked_fill(hidden[:, 0].all(dim=-1, keepdim=True), 0.0)
        return self.output(torch.cat((x, asked, x * asked, x * picked), dim=-1))
