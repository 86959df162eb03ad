"""Efficient probing: learned queries attend to the context without key projections."""

from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="efficient-probe",
    family="softmax",
    patterns="nc",
    extended="nc",
    summary="softmax over the context for learned queries plus the token, each pooling its own "
    "slice",
    paper="Attention, Please! Revisiting Attentive Probing Through the Lens of Efficiency "
    "(Psomas et al.)",
    year=2025,
    arxiv="2506.10178",
    time="N M d",
    memory="N M",
    published_defaults="32 learned queries of width 768 pool a context into one vector; here one "
    "for each head, to which each token of the stream is added, unprojected",
    added="2026-11-21",
)
class EfficientProbeAttention(Attention):
    r"""Attend to the context with learned queries u of the model's width.

    .. math:: a_{ts}^h = \mathrm{softmax}_s((u_h + x_t) \cdot z_s / \sqrt{d}), \quad
              y_t = \mathrm{concat}_h \sum_s a_{ts}^h (W_v z_s)^h

    z is the context, without its padding, and (W_v z)^h the h-th of H slices of the values. A
    learned query between the projections of multi-head attention is a learned vector, so query
    and key projections are left out, and the output projection too. The paper pools a context
    into one vector, y at x = 0, and has no stream. Here each token of the stream is added to the
    learned queries, the same vector for all heads: its products with the context outweigh those of
    the queries at the start (which are 0.02 in size), so that heads then differ little.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.queries = nn.Parameter(0.02 * torch.randn(self.heads, self.dim))
        self.value = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Pool the context for each token of x; 0 where all of it is padding."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        keys = source.mT / self.dim**0.5
        # The products of u_h + x_t, from those of u_h and of x_t: N + H of them, not N H.
        scores = (self.queries @ keys)[:, :, None] + (x @ keys)[:, None]
        hidden = hidden_pairs(
            x[:, None], source[:, None], causal=False, key_padding_mask=key_padding_mask
        )
        values = self.value(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return (masked_softmax(scores, hidden) @ values).transpose(1, 2).flatten(-2)
