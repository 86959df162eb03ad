"""An Informer-style forecaster (Zhou et al., 2021, arXiv 2012.07436): all steps in one pass.

The encoder reads the history. The decoder reads its last steps followed by an empty one for each
step to forecast, and computes all of these in one pass. Informer's distilling is left out, since
it shortens the sequence whose length is being tested.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cab.backbones.layers import Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class ForecasterConfig:
    """Sizes: channels, steps of history, known last steps given to the decoder, steps ahead."""

    width: Width
    channels: int
    history: int
    label: int
    horizon: int

    @property
    def encoder_depth(self) -> int:
        """Layers of the encoder; the decoder has width.layers."""
        return self.width.layers


@dataclass(frozen=True)
class DeepForecasterConfig(ForecasterConfig):
    """With a separate depth of the encoder, as in Informer."""

    encoder_layers: int

    @property
    def encoder_depth(self) -> int:
        """Layers of the encoder."""
        return self.encoder_layers


class Forecaster(nn.Module):
    """A forecast of every channel. Slots: encoder_self (NS), decoder_self (CS), cross (NC)."""

    def __init__(self, config: ForecasterConfig, slots: Slots) -> None:
        super().__init__()
        self.config = config
        width, decoded = config.width, config.label + config.horizon
        longest = max(config.history, decoded)

        self.embed_history = nn.Linear(config.channels, width.dim)
        self.embed_label = nn.Linear(config.channels, width.dim)
        self.history_positions = LearnedPositions(config.history, width.dim)
        self.decoder_positions = LearnedPositions(decoded, width.dim)
        self.encoder = nn.ModuleList(
            Layer(
                width,
                slots.fill(
                    "encoder_self", Pattern.NS, width, longest, layers=config.encoder_depth
                ),
            )
            for _ in range(config.encoder_depth)
        )
        self.decoder = nn.ModuleList(
            Layer(
                width,
                slots.fill("decoder_self", Pattern.CS, width, longest),
                slots.fill("cross", Pattern.NC, width, longest),
            )
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.channels)

    def forward(self, history: Float[Tensor, "B N C"]) -> Float[Tensor, "B T C"]:
        """Return the next T = horizon steps."""
        memory = self.history_positions(self.embed_history(history))
        for layer in self.encoder:
            memory = layer(memory)
        known = self.embed_label(history[:, history.shape[1] - self.config.label :])
        ahead = known.new_zeros(known.shape[0], self.config.horizon, known.shape[2])
        x = self.decoder_positions(torch.cat((known, ahead), dim=1))
        for layer in self.decoder:
            x = layer(x, memory)
        return self.head(self.norm(x[:, self.config.label :]))
