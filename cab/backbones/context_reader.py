"""A reader: queries that attend to a context, without self-attention.

The context is embedded token by token, so that only cross-attention mixes tokens. The design is
that of the cross-attention stages of Perceiver IO (Jaegle et al., 2021, arXiv 2107.14795).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cab.backbones.layers import Layer
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class ContextReaderConfig:
    """Sizes: features per context and query token, outputs per query, maximum length."""

    width: Width
    context_features: int
    query_features: int
    outputs: int
    length: int


class ContextReader(nn.Module):
    """Answers to queries about a context. Slot: cross (NC)."""

    def __init__(self, config: ContextReaderConfig, slots: Slots) -> None:
        super().__init__()
        width = config.width
        self.embed_context = nn.Sequential(
            nn.Linear(config.context_features, width.dim),
            nn.GELU(),
            nn.Linear(width.dim, width.dim),
            nn.LayerNorm(width.dim),
        )
        self.embed_query = nn.Linear(config.query_features, width.dim)
        self.layers = nn.ModuleList(
            Layer(
                width,
                cross_attention=slots.fill("cross", Pattern.NC, width, config.length),
            )
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.outputs)

    def forward(
        self, context: Float[Tensor, "B M F"], queries: Float[Tensor, "B N G"]
    ) -> Float[Tensor, "B N O"]:
        """Return the outputs, one row per query."""
        memory, x = self.embed_context(context), self.embed_query(queries)
        for layer in self.layers:
            x = layer(x, memory)
        return self.head(self.norm(x))
