"""A BERT-style encoder (Devlin et al., 2019, arXiv 1810.04805): an output for every token."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.backbones.layers import Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes: vocabulary, outputs per token, maximum length."""

    width: Width
    vocabulary: int
    outputs: int
    length: int


class Encoder(nn.Module):
    """Logits at every position, each from the whole sequence. Slot: encoder_self (NS)."""

    def __init__(self, config: EncoderConfig, slots: Slots) -> None:
        super().__init__()
        width = config.width
        self.embedding = nn.Embedding(config.vocabulary, width.dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions = LearnedPositions(config.length, width.dim)
        self.layers = nn.ModuleList(
            Layer(
                width,
                slots.fill("encoder_self", Pattern.NS, width, config.length),
            )
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.outputs)

    def forward(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B N O"]:
        """Return the outputs, one row per token."""
        x = self.positions(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))
