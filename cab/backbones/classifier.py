"""A BERT-style classifier of sequences (Devlin et al., 2019, arXiv 1810.04805)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.backbones.layers import GridPositions, Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the classifier.

    Inputs are tokens of a vocabulary or, if vocabulary is 0, frames of `features` numbers. pool
    selects what is classified: the mean of the unpadded tokens, the first token, or a learned
    token put before all others (cls). grid is (height, width) if the tokens form an image in
    raster order, otherwise None.
    """

    width: Width
    classes: int
    length: int
    vocabulary: int = 0
    features: int = 0
    pool: Literal["mean", "first", "cls"] = "mean"
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if (self.vocabulary > 0) == (self.features > 0):
            raise ValueError("a classifier needs either vocabulary or features, and not both")
        if self.pool == "cls" and self.grid is not None:
            raise ValueError("with a token of its own (pool = cls), tokens form no grid")


class SequenceEncoder(nn.Module):
    """One vector per sequence. Slot: encoder_self (NS)."""

    def __init__(self, config: ClassifierConfig, slots: Slots) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.embedding: nn.Embedding | nn.Linear
        if config.vocabulary:
            self.embedding = nn.Embedding(config.vocabulary, width.dim)
            nn.init.normal_(self.embedding.weight, std=0.02)
        else:
            self.embedding = nn.Linear(config.features, width.dim)
        length = config.length
        if config.pool == "cls":
            self.cls, length = nn.Parameter(torch.randn(width.dim) * 0.02), length + 1
        self.positions = (
            LearnedPositions(length, width.dim)
            if config.grid is None
            else GridPositions(config.grid, width.dim)
        )
        self.layers = nn.ModuleList(
            Layer(width, slots.fill("encoder_self", Pattern.NS, width, length, config.grid))
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)

    def forward(
        self,
        tokens: Int[Tensor, "B N"] | Float[Tensor, "B N F"],
        padding: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return the pooled sequences; padding is True for tokens to ignore."""
        x = self.embedding(tokens)
        if self.config.pool == "cls":
            x = torch.cat((self.cls.expand(len(x), 1, -1), x), dim=1)
            padding = None if padding is None else F.pad(padding, (1, 0))
        x = self.positions(x)
        for layer in self.layers:
            x = layer(x, padding=padding)
        x = self.norm(x)
        if self.config.pool != "mean":
            return x[:, 0]
        if padding is None:
            return x.mean(dim=1)
        kept = x.masked_fill(padding[..., None], 0.0).sum(dim=1)
        return kept / (~padding).sum(dim=1, keepdim=True).clamp(min=1)


class Classifier(nn.Module):
    """Class logits of a sequence. Slot: encoder_self (NS)."""

    def __init__(self, config: ClassifierConfig, slots: Slots) -> None:
        super().__init__()
        self.encoder = SequenceEncoder(config, slots)
        self.head = nn.Linear(config.width.dim, config.classes)

    def forward(
        self,
        tokens: Int[Tensor, "B N"] | Float[Tensor, "B N F"],
        padding: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B K"]:
        """Return logits over the classes."""
        return self.head(self.encoder(tokens, padding))
