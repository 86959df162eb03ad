"""The encoder-decoder Transformer (Vaswani et al., 2017, arXiv 1706.03762), frames to tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.backbones.layers import Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Sizes: source frames of `features` numbers, target vocabulary, maximum lengths."""

    width: Width
    features: int
    vocabulary: int
    source_length: int
    target_length: int


class EncoderDecoder(nn.Module):
    """Token logits given a source. Slots: encoder_self (NS), decoder_self (CS), cross (CC)."""

    def __init__(self, config: EncoderDecoderConfig, slots: Slots) -> None:
        super().__init__()
        width = config.width
        longest = max(config.source_length, config.target_length)

        self.embed_source = nn.Linear(config.features, width.dim)
        self.embed_target = nn.Embedding(config.vocabulary, width.dim)
        self.source_positions = LearnedPositions(config.source_length, width.dim)
        self.target_positions = LearnedPositions(config.target_length, width.dim)
        self.encoder = nn.ModuleList(
            Layer(width, slots.fill("encoder_self", Pattern.NS, width, longest))
            for _ in range(width.layers)
        )
        self.decoder = nn.ModuleList(
            Layer(
                width,
                slots.fill("decoder_self", Pattern.CS, width, longest),
                slots.fill("cross", Pattern.CC, width, longest),
            )
            for _ in range(width.layers)
        )
        self.source_norm = nn.LayerNorm(width.dim)
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.vocabulary)

    def even_out(self) -> "EncoderDecoder":
        """Initialise the embeddings as small as the positions, for tasks that depend on both."""
        for embedding in (self.embed_source, self.embed_target):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.zeros_(self.embed_source.bias)
        return self

    def share_places(self) -> "EncoderDecoder":
        """Give source and target the same positions, for tasks that read place by place.

        What is learned at the places of short sequences then holds at those of long ones.
        """
        self.target_positions = self.source_positions
        return self

    def share_windows(self, window: int, spread: float) -> "EncoderDecoder":
        """Give each `window` source tokens in a row the position of the target that reads them.

        As in `share_places`, what is learned at short sequences then holds at long ones. The
        position vectors start with the standard deviation `spread`.
        """
        length, dim = self.target_positions.table.shape
        self.target_positions = LearnedPositions(length, dim, spread)
        self.source_positions = LearnedPositions(length, dim, spread, window)
        self.source_positions.table = self.target_positions.table
        return self

    def encode(
        self, source: Float[Tensor, "B M F"], source_padding: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B M D"]:
        """Return the memory that the decoder reads."""
        return self._read(self.embed_source(source), source_padding)

    def _read(
        self, embedded: Float[Tensor, "B M D"], source_padding: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B M D"]:
        memory = self.source_positions(embedded)
        for layer in self.encoder:
            memory = layer(memory, padding=source_padding)
        return self.source_norm(memory)

    def decode(
        self,
        memory: Float[Tensor, "B M D"],
        source_padding: Bool[Tensor, "B M"],
        tokens: Int[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Return logits of the next token at every target position."""
        x = self.target_positions(self.embed_target(tokens))
        for layer in self.decoder:
            x = layer(x, memory, context_padding=source_padding)
        return self.head(self.norm(x))

    def forward(
        self,
        source: Float[Tensor, "B M F"],
        source_padding: Bool[Tensor, "B M"],
        tokens: Int[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Return logits for teacher forcing."""
        return self.decode(self.encode(source, source_padding), source_padding, tokens)

    @torch.no_grad()
    def generate(
        self,
        source: Float[Tensor, "B M F"],
        source_padding: Bool[Tensor, "B M"],
        first: int,
        steps: int,
    ) -> Int[Tensor, "B T"]:
        """Return `steps` tokens per source, decoded greedily."""
        memory = self.encode(source, source_padding)
        tokens = torch.full((source.shape[0], 1), first, device=source.device)
        for _ in range(steps):
            logits = self.decode(memory, source_padding, tokens)
            tokens = torch.cat((tokens, logits[:, -1:].argmax(dim=-1)), dim=1)
        return tokens[:, 1:]


class TextEncoderDecoder(EncoderDecoder):
    """The encoder-decoder for texts of one vocabulary, with tied embeddings and head.

    A source token is one number, so `features` is 1.
    """

    def __init__(self, config: EncoderDecoderConfig, slots: Slots) -> None:
        super().__init__(config, slots)
        del self.embed_source
        nn.init.normal_(self.embed_target.weight, std=0.02)
        self.head.weight = self.embed_target.weight

    def encode(
        self, source: Int[Tensor, "B M"], source_padding: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B M D"]:
        """Return the memory that the decoder reads."""
        return self._read(self.embed_target(source), source_padding)

    def forward(
        self,
        source: Int[Tensor, "B M"],
        source_padding: Bool[Tensor, "B M"],
        tokens: Int[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Return logits for teacher forcing."""
        return self.decode(self.encode(source, source_padding), source_padding, tokens)

    @torch.no_grad()
    def write(
        self,
        source: Int[Tensor, "B M"],
        source_padding: Bool[Tensor, "B M"],
        *,
        first: int,
        end: int,
        shortest: int,
        longest: int,
    ) -> Int[Tensor, "B T"]:
        """Return up to `longest` tokens, decoded greedily, with `end` from the end of a text on.

        A text has at least `shortest` tokens.
        """
        memory = self.encode(source, source_padding)
        tokens = torch.full((source.shape[0], 1), first, device=source.device)
        ended = torch.zeros_like(tokens, dtype=torch.bool)
        for step in range(longest):
            logits = self.decode(memory, source_padding, tokens)[:, -1]
            if step < shortest:
                logits[:, end] = -torch.inf
            token = logits.argmax(dim=-1, keepdim=True).masked_fill(ended, end)
            tokens = torch.cat((tokens, token), dim=1)
            ended = ended | (token == end)
            if ended.all():
                break
        return tokens[:, 1:]
