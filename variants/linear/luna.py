"""Luna: attention through a short learned sequence, which packs and unpacks the tokens."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible


@register_variant(
    name="luna",
    family="linear",
    patterns="ns",
    summary="learned tokens attend to the sequence; then the sequence attends to them",
    paper="Luna: Linear Unified Nested Attention (Ma et al.)",
    year=2021,
    arxiv="2106.01540",
    time="N (packed + d) d",
    memory="N packed H",
    published_defaults="16 to 256 packed tokens, handed from layer to layer; here 16, which every "
    "layer learns for itself",
    added="2026-11-21",
)
class LunaAttention(MultiHeadAttention):
    r"""Nest two softmax attentions, with l learned queries P between them.

    .. math:: Y_P = \mathrm{softmax}(P C^\top / \sqrt{E}) \, C, \quad C = X W_c, \qquad
              O = \mathrm{softmax}(Q U^\top / \sqrt{E}) \, U, \quad U = Y_P W_u

    in every head, Y_P joining the heads. As in the paper's tied form, one projection gives keys
    and values, of the sequence (W_c, here `key`) and of the packed tokens (W_u, here `value`).
    The paper hands Y_P on as the next layer's P; here each layer learns a P of its own, in
    place of its projection.
    """

    @dataclass(frozen=True)
    class Config:
        """packed: l, the learned queries."""

        packed: int = 16

        def __post_init__(self) -> None:
            if self.packed < 2:
                raise ValueError("packed must be at least 2, or no query could choose")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.queries = nn.Parameter(torch.randn(self.heads, self.config.packed, self.head_width))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Pack, unpack, project. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        scale = self.head_width**-0.5
        keys = self.split_heads(self.key(source))
        padded = padded_keys(keys, key_padding_mask)[:, None, None, :]
        packed = softmax_over_visible(scale * self.queries @ keys.mT, padded) @ keys
        unpacked = self.split_heads(self.value(self.merge_heads(packed)))
        q = self.split_heads(self.query(x))
        mixed = (scale * q @ unpacked.mT).softmax(dim=-1) @ unpacked
        return self.output(self.merge_heads(mixed))
