"""An SR3-style U-Net (Saharia et al., 2021, arXiv 2104.07636): it predicts the noise in an image.

Residual blocks at decreasing, then at increasing resolution, each with the noise level as input.
At chosen resolutions each block is followed by an attention slot on the pixels of the feature map.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Attention
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class UNetConfig:
    """Sizes: square images of `side` pixels and `channels` colours.

    There are width.dim channels at full resolution, multiplied per level by `multipliers`; each
    level has half the side of the one before. Each level has width.layers residual blocks on the
    way down and one more on the way up. A slot follows each block if the side of the map is in
    `attention_sides`; one more is in the middle. groups is the number of groups of the group
    norms.

    Raises:
        ValueError: the side cannot be halved so often, or no level has a side of attention_sides.
    """

    width: Width
    side: int
    channels: int
    multipliers: tuple[int, ...]
    attention_sides: tuple[int, ...]
    groups: int = 32

    def __post_init__(self) -> None:
        halvings = len(self.multipliers) - 1
        if self.side % 2**halvings:
            raise ValueError(f"side = {self.side} cannot be halved {halvings} times")
        if unknown := set(self.attention_sides) - set(self.sides):
            raise ValueError(
                f"attention_sides {sorted(unknown)} are not among the sides {self.sides}"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """The side of each level's maps."""
        return tuple(self.side >> level for level in range(len(self.multipliers)))

    @property
    def slots(self) -> int:
        """How many attention slots there are: on the way down, in the middle, on the way up."""
        attending = sum(side in self.attention_sides for side in self.sides)
        return attending * (2 * self.width.layers + 1) + 1


class NoiseLevel(nn.Module):
    """An embedding of the noise level: sines of the level, then two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))

    def forward(self, level: Float[Tensor, " B"]) -> Float[Tensor, "B D"]:
        """Return the vector; the level is from 0 to 1."""
        half = self.dim // 2
        rates = torch.exp(-math.log(1e4) * torch.arange(half, device=level.device) / half)
        angles = 5000 * level[:, None] * rates.to(level)
        return self.layers(torch.cat((angles.sin(), angles.cos()), dim=1))


class NoisyBlock(nn.Module):
    """Two 3 x 3 convolutions with the noise level added between them, and a shortcut."""

    def __init__(self, wide: int, narrow: int, config: UNetConfig) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(config.groups, wide)
        self.first = nn.Conv2d(wide, narrow, 3, padding=1)
        self.noise = nn.Linear(config.width.dim, narrow)
        self.second_norm = nn.GroupNorm(config.groups, narrow)
        self.dropout = nn.Dropout(config.width.dropout)
        self.second = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.shortcut = nn.Conv2d(wide, narrow, 1) if wide != narrow else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B C h w"], noise: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B E h w"]:
        """Return the map after the block."""
        hidden = self.first(F.silu(self.first_norm(x))) + self.noise(noise)[:, :, None, None]
        hidden = self.second(self.dropout(F.silu(self.second_norm(hidden))))
        return hidden + self.shortcut(x)


class MapAttention(nn.Module):
    """A slot on the pixels of a feature map in raster order: normalise, mix, add."""

    def __init__(self, channels: int, groups: int, attention: Attention) -> None:
        super().__init__()
        self.norm, self.attention = nn.GroupNorm(groups, channels), attention

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Return the map after the slot."""
        mixed = self.attention(self.norm(x).flatten(2).mT)
        return x + mixed.mT.unflatten(2, x.shape[2:])


class UNet(nn.Module):
    """Predicts noise, given the blurred image, too. Slot: encoder_self (NS, on the grid)."""

    def __init__(self, config: UNetConfig, slots: Slots) -> None:
        super().__init__()
        self.config = config
        width, sides = config.width, config.sides
        sizes = [width.dim * multiplier for multiplier in config.multipliers]
        self.level = NoiseLevel(width.dim)
        self.stem = nn.Conv2d(2 * config.channels, width.dim, 3, padding=1)

        def slot(size: int, side: int, wanted: bool = False) -> nn.Module:
            if not wanted and side not in config.attention_sides:
                return nn.Identity()
            wide = dataclasses.replace(width, dim=size)
            attention = slots.fill(
                "encoder_self", Pattern.NS, wide, side**2, (side, side), layers=config.slots
            )
            return MapAttention(size, config.groups, attention)

        # `kept` are the channels of the maps that the way down leaves for the way up.
        kept, channels = [width.dim], width.dim
        self.down = nn.ModuleList()
        for place, (size, side) in enumerate(zip(sizes, sides, strict=True)):
            for _ in range(width.layers):
                self.down.append(
                    nn.ModuleList((NoisyBlock(channels, size, config), slot(size, side)))
                )
                channels = size
                kept.append(channels)
            if place < len(sizes) - 1:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                kept.append(channels)
        self.middle = nn.ModuleList(
            (
                NoisyBlock(channels, channels, config),
                slot(channels, sides[-1], wanted=True),
                NoisyBlock(channels, channels, config),
            )
        )
        self.up = nn.ModuleList()
        for place, (size, side) in reversed(list(enumerate(zip(sizes, sides, strict=True)))):
            for _ in range(width.layers + 1):
                block = NoisyBlock(channels + kept.pop(), size, config)
                self.up.append(nn.ModuleList((block, slot(size, side))))
                channels = size
            if place:
                self.up.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.norm = nn.GroupNorm(config.groups, channels)
        self.head = nn.Conv2d(channels, config.channels, 3, padding=1)

    def forward(
        self,
        blurred: Float[Tensor, "B C S S"],
        noisy: Float[Tensor, "B C S S"],
        level: Float[Tensor, " B"],
    ) -> Float[Tensor, "B C S S"]:
        """Return the noise that was added.

        The level is the factor of the clean image in the noisy one: 1 without noise, 0 for pure
        noise.
        """
        noise = self.level(level)
        x = self.stem(torch.cat((blurred, noisy), dim=1))
        maps = [x]
        for part in self.down:
            if isinstance(part, nn.ModuleList):
                block, attention = part
                x = attention(block(x, noise))
            else:
                x = part(x)
            maps.append(x)
        first, attention, second = self.middle
        x = second(attention(first(x, noise)), noise)
        for part in self.up:
            if isinstance(part, nn.ModuleList):
                block, attention = part
                x = attention(block(torch.cat((x, maps.pop()), dim=1), noise))
            else:
                x = part(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.head(F.silu(self.norm(x)))
