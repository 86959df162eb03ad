"""A FastSpeech-2-style synthesiser (Ren et al., 2021, arXiv 2006.04558): all frames in one pass.

Symbols are encoded. Each gets a pitch, an energy and a number of frames, and the frames are
decoded to mel bands. Like all backbones here it is pre-norm, with learned positions.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Attention, zero_padding
from cab.backbones.layers import LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern

REACH = 3.0
"""Standard deviations of pitch and energy between the first and the last bin."""


@dataclass(frozen=True)
class FastSpeechConfig:
    """Sizes: number of symbols, mel bands per frame, maximum lengths.

    Encoder and decoder have width.layers layers each. `kernel` is the width of the feed-forward
    convolutions, `bins` the number of bins of pitch and of energy.
    """

    width: Width
    symbols: int
    bands: int
    source_length: int
    target_length: int
    kernel: int = 9
    bins: int = 256


class Variances(NamedTuple):
    """Durations in frames and z-scores of pitch and energy of each symbol, all (B, N)."""

    durations: Int[Tensor, "B N"]
    pitch: Float[Tensor, "B N"]
    energy: Float[Tensor, "B N"]


class Spoken(NamedTuple):
    """Frames (B, T, bands), padding (B, T), and the predictions per symbol, each (B, N).

    log_durations are log(1 + frames).
    """

    frames: Float[Tensor, "B T F"]
    padding: Bool[Tensor, "B T"]
    log_durations: Float[Tensor, "B N"]
    pitch: Float[Tensor, "B N"]
    energy: Float[Tensor, "B N"]


class ConvolutionalLayer(nn.Module):
    """A transformer layer whose feed-forward part is a convolution over neighbours."""

    def __init__(self, width: Width, attention: Attention, kernel: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width.dim), attention
        self.feed_norm = nn.LayerNorm(width.dim)
        hidden = width.expansion * width.dim
        self.widen = nn.Conv1d(width.dim, hidden, kernel, padding="same")
        self.narrow = nn.Conv1d(hidden, width.dim, 1)
        self.dropout = nn.Dropout(width.dropout)

    def forward(
        self, x: Float[Tensor, "B N D"], padding: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N D"]:
        """Return the output of the layer."""
        normed = zero_padding(self.attention_norm(x), padding)
        x = x + self.dropout(self.attention(normed, key_padding_mask=padding))
        normed = zero_padding(self.feed_norm(x), padding)
        return x + self.dropout(self.narrow(F.relu(self.widen(normed.mT))).mT)


class VariancePredictor(nn.Module):
    """One number per symbol: two convolutions over neighbours, then a linear layer."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width.dim, width.dim, 3, padding="same") for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width.dim) for _ in range(2))
        self.dropout = nn.Dropout(width.dropout)
        self.head = nn.Linear(width.dim, 1)

    def forward(
        self, x: Float[Tensor, "B N D"], padding: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N"]:
        """Return the predictions; ignore those of padding."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = F.relu(convolution(zero_padding(x, padding).mT).mT)
            x = self.dropout(norm(hidden))
        return self.head(x).squeeze(-1)


def regulate(
    x: Float[Tensor, "B N D"], durations: Int[Tensor, "B N"], longest: int
) -> tuple[Float[Tensor, "B T D"], Bool[Tensor, "B T"]]:
    """Repeat each symbol for its frames; return the frames and their padding.

    T is the longest sum of durations, at most `longest`; frames beyond are cut off.
    """
    ends = durations.cumsum(dim=1)
    length = min(int(ends[:, -1].max()), longest)
    frame = torch.arange(length, device=x.device).expand(len(x), -1).contiguous()
    padding = frame >= ends[:, -1:]
    symbol = torch.searchsorted(ends, frame, right=True).clamp(max=x.shape[1] - 1)
    return x.gather(1, symbol[..., None].expand(-1, -1, x.shape[2])), padding


class FastSpeech(nn.Module):
    """Mel frames of symbols. Slots: encoder_self (NS), decoder_self (NS)."""

    def __init__(self, config: FastSpeechConfig, slots: Slots) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.width, config.kernel
        self.embedding = nn.Embedding(config.symbols, width.dim)
        self.symbol_positions = LearnedPositions(config.source_length, width.dim)
        self.frame_positions = LearnedPositions(config.target_length, width.dim)
        self.encoder, self.decoder = (
            nn.ModuleList(
                ConvolutionalLayer(width, slots.fill(name, Pattern.NS, width, length), kernel)
                for _ in range(width.layers)
            )
            for name, length in (
                ("encoder_self", config.source_length),
                ("decoder_self", config.target_length),
            )
        )
        self.duration, self.pitch, self.energy = (VariancePredictor(width) for _ in range(3))
        self.embed_pitch = nn.Embedding(config.bins, width.dim)
        self.embed_energy = nn.Embedding(config.bins, width.dim)
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.bands)

    def forward(
        self,
        symbols: Int[Tensor, "B N"],
        padding: Bool[Tensor, "B N"],
        known: Variances | None = None,
    ) -> Spoken:
        """Return the frames for the given variances, or for the predicted ones."""
        x = self.symbol_positions(self.embedding(symbols))
        for layer in self.encoder:
            x = layer(x, padding)
        log_durations = self.duration(x, padding)
        pitch = self.pitch(x, padding)
        x = x + self._embed(self.embed_pitch, pitch if known is None else known.pitch)
        energy = self.energy(x, padding)
        x = x + self._embed(self.embed_energy, energy if known is None else known.energy)
        if known is None:
            # Every symbol is said: an utterance without any frame could not be compared.
            frames = (log_durations.exp() - 1).round().long()
            durations = frames.clamp(1, self.config.target_length)
        else:
            durations = known.durations
        x, silent = regulate(x, durations.masked_fill(padding, 0), self.config.target_length)
        x = self.frame_positions(x)
        for layer in self.decoder:
            x = layer(x, silent)
        said = zero_padding(self.head(self.norm(x)), silent)
        return Spoken(said, silent, log_durations, pitch, energy)

    def _embed(self, table: nn.Embedding, values: Float[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """Look up the bin of each value."""
        edges = torch.linspace(-REACH, REACH, self.config.bins - 1).to(values)
        return table(torch.bucketize(values.detach(), edges))
