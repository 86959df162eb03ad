"""A transformer over frames of numbers, such as speech, with an output for each of them."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.backbones.layers import Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class FrameReaderConfig:
    """Sizes: up to `length` frames of `features` numbers each, outputs per frame.

    The output of a causal reader depends on the frames so far, that of the other on all of them.
    """

    width: Width
    features: int
    outputs: int
    length: int
    causal: bool


class FrameReader(nn.Module):
    """Logits at every frame. Slot: decoder_self (CS) if it is causal, else encoder_self (NS)."""

    def __init__(self, config: FrameReaderConfig, slots: Slots) -> None:
        super().__init__()
        width = config.width
        name, pattern = (
            ("decoder_self", Pattern.CS) if config.causal else ("encoder_self", Pattern.NS)
        )
        self.embedding = nn.Linear(config.features, width.dim)
        self.positions = LearnedPositions(config.length, width.dim)
        self.layers = nn.ModuleList(
            Layer(width, slots.fill(name, pattern, width, config.length))
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.outputs)

    def forward(
        self, frames: Float[Tensor, "B N F"], padding: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N O"]:
        """Return the outputs, one row per frame; ignore those of padded frames."""
        x = self.positions(self.embedding(frames))
        for layer in self.layers:
            x = layer(x, padding=padding)
        return self.head(self.norm(x))
