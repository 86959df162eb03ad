"""A Transformer-TTS-style synthesiser (Li et al., 2019, arXiv 1809.08895): frame by frame.

Symbols are encoded. The decoder reads them and its previous frames, and predicts the next frames,
several per step, until it stops. Unlike in the paper, norms are layer norms, so that the rows of a
batch are independent; the pre-net uses dropout in training only; the post-net is causal, so that
frames after the stop do not change earlier ones.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import zero_padding
from cab.backbones.layers import Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class SpeechTransformerConfig:
    """Sizes: number of symbols, bands per frame, frames per step, maximum symbols and steps.

    prenet and prenet_dropout are the width and the dropout of the decoder's pre-net. There are
    three convolutions before the encoder and five after the decoder, each of `kernel` neighbours.
    """

    width: Width
    symbols: int
    bands: int
    frames_per_step: int
    source_length: int
    target_length: int
    prenet: int = 256
    prenet_dropout: float = 0.5
    kernel: int = 5


class Said(NamedTuple):
    """Frames before and after the post-net (B, T r, bands), and logits of stopping (B, T)."""

    coarse: Float[Tensor, "B S F"]
    frames: Float[Tensor, "B S F"]
    stop: Float[Tensor, "B T"]


class Convolutions(nn.Module):
    """Convolutions over neighbours, or earlier ones if causal, with norms between them."""

    def __init__(self, sizes: tuple[int, ...], kernel: int, causal: bool) -> None:
        super().__init__()
        reach = kernel - 1
        self.reach = (reach, 0) if causal else (reach // 2, reach - reach // 2)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(wide, narrow, kernel) for wide, narrow in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes[1:-1])

    def forward(
        self, x: Float[Tensor, "B N D"], padding: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N E"]:
        """Return the last convolution's output."""
        for place, convolution in enumerate(self.convolutions):
            if place:
                x = F.relu(self.norms[place - 1](x))
            x = convolution(F.pad(zero_padding(x, padding).mT, self.reach)).mT
        return x


class SpeechTransformer(nn.Module):
    """Frames of symbols. Slots: encoder_self (NS), decoder_self (CS), cross (CC)."""

    def __init__(self, config: SpeechTransformerConfig, slots: Slots) -> None:
        super().__init__()
        self.config = config
        width, step = config.width, config.bands * config.frames_per_step
        longest = max(config.source_length, config.target_length)
        self.embedding = nn.Embedding(config.symbols, width.dim)
        self.encoder_prenet = Convolutions((width.dim,) * 4, config.kernel, causal=False)
        self.decoder_prenet = nn.Sequential(
            nn.Linear(config.bands, config.prenet),
            nn.ReLU(),
            nn.Dropout(config.prenet_dropout),
            nn.Linear(config.prenet, config.prenet),
            nn.ReLU(),
            nn.Dropout(config.prenet_dropout),
            nn.Linear(config.prenet, width.dim),
        )
        self.symbol_positions = LearnedPositions(config.source_length, width.dim)
        self.step_positions = LearnedPositions(config.target_length, width.dim)
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
        self.source_norm, self.norm = nn.LayerNorm(width.dim), nn.LayerNorm(width.dim)
        self.head, self.stop = nn.Linear(width.dim, step), nn.Linear(width.dim, 1)
        self.postnet = Convolutions(
            (config.bands, *(width.dim,) * 4, config.bands), config.kernel, causal=True
        )
        # The post-net starts as no correction at all.
        for parameter in self.postnet.convolutions[-1].parameters():
            nn.init.zeros_(parameter)

    def encode(
        self, symbols: Int[Tensor, "B M"], padding: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B M D"]:
        """Return the memory that the decoder reads."""
        x = self.encoder_prenet(self.embedding(symbols), padding)
        x = self.symbol_positions(x)
        for layer in self.encoder:
            x = layer(x, padding=padding)
        return self.source_norm(x)

    def decode(
        self,
        memory: Float[Tensor, "B M D"],
        padding: Bool[Tensor, "B M"],
        frames: Float[Tensor, "B S F"],
    ) -> Said:
        """Return each step's frames, given the frames of the steps before it.

        The input of a step is the last frame before it; that of the first step is silence, all
        zeros.
        """
        r = self.config.frames_per_step
        before = F.pad(frames[:, r - 1 :: r], (0, 0, 1, 0))[:, : frames.shape[1] // r]
        x = self.step_positions(self.decoder_prenet(before))
        for layer in self.decoder:
            x = layer(x, memory, context_padding=padding)
        x = self.norm(x)
        coarse = self.head(x).unflatten(2, (r, self.config.bands)).flatten(1, 2)
        return Said(coarse, coarse + self.postnet(coarse), self.stop(x).squeeze(-1))

    def forward(
        self,
        symbols: Int[Tensor, "B M"],
        padding: Bool[Tensor, "B M"],
        frames: Float[Tensor, "B S F"],
    ) -> Said:
        """Return the outputs under teacher forcing; S is a whole number of steps."""
        return self.decode(self.encode(symbols, padding), padding, frames)

    @torch.no_grad()
    def generate(
        self, symbols: Int[Tensor, "B M"], padding: Bool[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B S F"], Int[Tensor, " B"]]:
        """Return frames and their number per row, up to the first step with a likely stop."""
        memory, r = self.encode(symbols, padding), self.config.frames_per_step
        coarse = memory.new_zeros(len(memory), 0, self.config.bands)
        steps = torch.zeros(len(memory), dtype=torch.long, device=memory.device)
        going = torch.ones_like(steps, dtype=torch.bool)
        for _ in range(self.config.target_length):
            # The step to be said needs a place; what stands there is not read.
            said = self.decode(memory, padding, F.pad(coarse, (0, 0, 0, r)))
            coarse = torch.cat((coarse, said.coarse[:, -r:]), dim=1)
            steps += going
            going = going & (said.stop[:, -1] < 0)
            if not going.any():
                break
        return coarse + self.postnet(coarse), steps * r
