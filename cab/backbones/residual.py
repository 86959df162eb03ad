"""A small residual network (He et al., 2016, arXiv 1512.03385) with a slot after each block."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Attention
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class ResidualConfig:
    """Sizes: images of one channel on grid = (height, width) pixels; width.dim channels."""

    width: Width
    grid: tuple[int, int]
    classes: int


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the slot on their feature map, and the shortcut."""

    def __init__(self, dim: int, attention: Attention) -> None:
        super().__init__()
        self.first = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.second = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.first_norm, self.second_norm = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.attention = attention

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """Return the map after the block."""
        mapped = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        tokens = mapped.flatten(2).mT
        mapped = self.attention(tokens).mT.unflatten(2, x.shape[2:])
        return F.relu(x + mapped)


class Residual(nn.Module):
    """Class logits of an image. Slot: feature_map (NS, on the grid of pixels)."""

    def __init__(self, config: ResidualConfig, slots: Slots) -> None:
        super().__init__()
        width, grid = config.width, config.grid
        self.grid = grid
        self.stem = nn.Conv2d(1, width.dim, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                width.dim, slots.fill("feature_map", Pattern.NS, width, grid[0] * grid[1], grid)
            )
            for _ in range(width.layers)
        )
        self.head = nn.Linear(width.dim, config.classes)

    def forward(self, pixels: Float[Tensor, "B N 1"]) -> Float[Tensor, "B K"]:
        """Return logits over the classes, from the mean of the last map."""
        x = F.relu(self.stem(pixels.mT.unflatten(2, self.grid)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))
