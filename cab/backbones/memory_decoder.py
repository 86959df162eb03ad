"""A decoder with cross-attention to a memory, without an encoder.

The memory is embedded token by token, so that only cross-attention reads it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.backbones.layers import Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern

SPREAD = 0.1
"""Standard deviation of embeddings and positions at the start: a larger one drowns what is read,
a smaller one is drowned."""


@dataclass(frozen=True)
class MemoryDecoderConfig:
    """Sizes: features per memory token, vocabulary, maximum length.

    Each of width.layers layers attends to the memory, and then to the tokens so far.
    """

    width: Width
    features: int
    vocabulary: int
    length: int


class MemoryDecoder(nn.Module):
    """Token logits given a memory. Slots: cross (CC), decoder_self (CS).

    Cross-attention comes first: after self-attention, the current token is harder to identify.
    """

    def __init__(self, config: MemoryDecoderConfig, slots: Slots) -> None:
        super().__init__()
        width = config.width
        self.embed_memory = nn.Sequential(
            nn.Linear(config.features, width.dim),
            nn.GELU(),
            nn.Linear(width.dim, width.dim),
            nn.LayerNorm(width.dim),
        )
        self.embedding = nn.Embedding(config.vocabulary, width.dim)
        nn.init.normal_(self.embedding.weight, std=SPREAD)
        self.positions = LearnedPositions(config.length, width.dim, SPREAD)
        self.layers = nn.ModuleList()
        for _ in range(width.layers):
            read = slots.fill("cross", Pattern.CC, width, config.length)
            mix = slots.fill("decoder_self", Pattern.CS, width, config.length)
            self.layers.extend((Layer(width, cross_attention=read), Layer(width, mix)))
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.vocabulary)

    def forward(
        self, memory: Float[Tensor, "B M F"], tokens: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B N V"]:
        """Return logits of the next token at every position."""
        context, x = self.embed_memory(memory), self.positions(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x, context)
        return self.head(self.norm(x))

    @torch.no_grad()
    def generate(
        self, memory: Float[Tensor, "B M F"], first: Int[Tensor, "B P"], steps: int
    ) -> Int[Tensor, "B T"]:
        """Return the `steps` tokens after the first P, decoded greedily."""
        tokens = first
        for _ in range(steps):
            logits = self(memory, tokens)
            tokens = torch.cat((tokens, logits[:, -1:].argmax(dim=-1)), dim=1)
        return tokens[:, first.shape[1] :]
