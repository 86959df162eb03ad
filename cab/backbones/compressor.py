"""The auto-encoder of MAD: all tokens are reconstructed from a causal encoder's last state.

Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv 2403.17844).
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.backbones.layers import Layer, LearnedPositions, SinusoidalPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class CompressorConfig:
    """Sizes of the auto-encoder."""

    width: Width
    vocabulary: int
    length: int


class Compressor(nn.Module):
    """Token logits at all positions from the last state alone. Slot: encoder_self (CS).

    The encoder has learned positions; that of the paper has the positions of its attention layers.
    As in the paper, the decoder adds sinusoidal positions to the last state and passes each
    position through two layers.
    """

    def __init__(self, config: CompressorConfig, slots: Slots) -> None:
        super().__init__()
        width, dim = config.width, config.width.dim
        self.embedding = nn.Embedding(config.vocabulary, dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions = LearnedPositions(config.length, dim)
        self.layers = nn.ModuleList(
            Layer(width, slots.fill("encoder_self", Pattern.CS, width, config.length))
            for _ in range(width.layers)
        )
        self.places = SinusoidalPositions(dim)
        self.decoder = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.LayerNorm(dim),
            nn.Linear(dim, config.vocabulary),
        )

    def forward(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B N V"]:
        """Return logits of all tokens, from the state of the last position."""
        x = self.positions(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x)
        return self.decoder(self.places(x[:, -1:].expand_as(x)))
