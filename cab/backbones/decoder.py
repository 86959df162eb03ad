"""A GPT-2-style language model (Radford et al., 2019): one causal self-attention slot a layer."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.backbones.layers import (
    Layer,
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
)
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder; length is the maximum length of a sequence.

    positions: True adds learned positions to the embeddings, False none, and a number sinusoidal
    ones of that amplitude. "rotary" adds none and turns the queries and keys of all attentions by
    angles of their positions, where they offer it (`cab.attention.Attention.turn_by`). Without
    learned positions, sequences may be longer than in training. Embeddings start with a standard
    deviation of 0.02, which sines of amplitude 1 would dominate.
    """

    width: Width
    vocabulary: int
    length: int
    positions: bool | float | Literal["rotary"] = True

    options: ClassVar[tuple[str, ...]] = ("positions",)
    """The fields beside those of width that a run may change."""


class Decoder(nn.Module):
    """Token logits from the tokens so far. Slot: decoder_self (CS).

    Raises:
        Unsupported: an attention does not take the rotary positions that are asked for.
    """

    def __init__(self, config: DecoderConfig, slots: Slots) -> None:
        super().__init__()
        width = config.width
        self.embedding = nn.Embedding(config.vocabulary, width.dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions: nn.Module = nn.Identity()
        if config.positions is True:
            self.positions = LearnedPositions(config.length, width.dim)
        elif config.positions and config.positions != "rotary":
            self.positions = SinusoidalPositions(width.dim, config.positions)
        self.layers = nn.ModuleList()
        for _ in range(width.layers):
            attention = slots.fill("decoder_self", Pattern.CS, width, config.length)
            if config.positions == "rotary":
                attention.turn_by(RotaryPositions())
            self.layers.append(Layer(width, attention))
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.vocabulary, bias=False)

    def forward(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B N V"]:
        """Return logits of the next token at every position."""
        x = self.positions(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))
