"""Informer (Zhou et al., 2021, arXiv 2012.07436), the forecaster of the CAB paper.

The encoder reads the history and halves its length between layers (distilling). The decoder reads
the last known steps followed by an empty one for each step to forecast, and computes all of these
in one pass. Layers are post-norm, positions are sinusoidal, and every step has features of the
calendar beside its values.

Dimensions: B batch, N steps, C channels, F calendar features, D model width.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Attention
from cab.backbones.layers import SinusoidalPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class InformerConfig:
    """Sizes: channels, calendar features, and steps of history, known again, and ahead.

    The decoder has width.layers layers and reads the last `label` steps of the history.

    Raises:
        ValueError: label is longer than the history.
    """

    width: Width
    encoder_layers: int
    channels: int
    calendar: int
    history: int
    label: int
    horizon: int

    def __post_init__(self) -> None:
        if self.label > self.history:
            raise ValueError(f"label = {self.label} is longer than history = {self.history}")


class StepEmbedding(nn.Module):
    """Values by a circular convolution over three steps, plus position and calendar."""

    def __init__(self, config: InformerConfig) -> None:
        super().__init__()
        dim = config.width.dim
        self.values = nn.Conv1d(config.channels, dim, 3, padding=1, padding_mode="circular")
        nn.init.kaiming_normal_(self.values.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.calendar = nn.Linear(config.calendar, dim)
        self.positions = SinusoidalPositions(dim)
        self.dropout = nn.Dropout(config.width.dropout)

    def forward(
        self, values: Float[Tensor, "B N C"], calendar: Float[Tensor, "B N F"]
    ) -> Float[Tensor, "B N D"]:
        """Return the embedded steps."""
        x = self.values(values.mT).mT + self.calendar(calendar)
        return self.dropout(self.positions(x))


class PostNormLayer(nn.Module):
    """Self attention, cross attention if given, feed-forward; each added and then normalised."""

    def __init__(
        self, width: Width, self_attention: Attention, cross_attention: Attention | None = None
    ) -> None:
        super().__init__()
        dim, hidden = width.dim, width.expansion * width.dim
        self.self_attention, self.cross_attention = self_attention, cross_attention
        self.norms = nn.ModuleList(
            nn.LayerNorm(dim) for _ in range(2 if cross_attention is None else 3)
        )
        self.widen, self.narrow = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(width.dropout)

    def forward(
        self, x: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"] | None = None
    ) -> Float[Tensor, "B N D"]:
        """Return the output of the layer."""
        x = self.norms[0](x + self.dropout(self.self_attention(x)))
        if self.cross_attention is not None:
            x = self.norms[1](x + self.dropout(self.cross_attention(x, memory)))
        hidden = self.dropout(F.gelu(self.widen(x)))
        return self.norms[-1](x + self.dropout(self.narrow(hidden)))


class Distilling(nn.Module):
    """Halves a sequence: circular convolution, batch norm, ELU and a maximum over three steps."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, dim, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        """Return (N + 1) // 2 steps."""
        hidden = F.elu(self.norm(self.convolution(x.mT)))
        return F.max_pool1d(hidden, kernel_size=3, stride=2, padding=1).mT


class Informer(nn.Module):
    """A forecast of every channel. Slots: encoder_self (NS), decoder_self (CS), cross (NC)."""

    def __init__(self, config: InformerConfig, slots: Slots) -> None:
        super().__init__()
        self.config = config
        width, depth = config.width, config.encoder_layers
        lengths = [config.history]
        for _ in range(depth - 1):
            lengths.append((lengths[-1] + 1) // 2)
        self.embed_history, self.embed_known = StepEmbedding(config), StepEmbedding(config)
        self.encoder = nn.ModuleList(
            PostNormLayer(
                width, slots.fill("encoder_self", Pattern.NS, width, length, layers=depth)
            )
            for length in lengths
        )
        self.distilling = nn.ModuleList(Distilling(width.dim) for _ in range(depth - 1))
        decoded = config.label + config.horizon
        self.decoder = nn.ModuleList(
            PostNormLayer(
                width,
                slots.fill("decoder_self", Pattern.CS, width, decoded),
                slots.fill("cross", Pattern.NC, width, max(decoded, lengths[-1])),
            )
            for _ in range(width.layers)
        )
        self.memory_norm, self.norm = nn.LayerNorm(width.dim), nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.channels)

    def forward(
        self, history: Float[Tensor, "B N C"], calendar: Float[Tensor, "B T F"]
    ) -> Float[Tensor, "B H C"]:
        """Return the next H = horizon steps; T = N + H are the steps of both."""
        known, label = history.shape[1], self.config.label
        memory = self.embed_history(history, calendar[:, :known])
        for place, layer in enumerate(self.encoder):
            memory = layer(memory if place == 0 else self.distilling[place - 1](memory))
        memory = self.memory_norm(memory)
        given = F.pad(history[:, known - label :], (0, 0, 0, self.config.horizon))
        x = self.embed_known(given, calendar[:, known - label :])
        for layer in self.decoder:
            x = layer(x, memory)
        return self.head(self.norm(x[:, label:]))
