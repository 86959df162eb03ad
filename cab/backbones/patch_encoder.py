"""A ViT-style patch encoder (Dosovitskiy et al., 2021, arXiv 2010.11929) with a classifier."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cab.backbones.layers import GridPositions, Layer
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class PatchEncoderConfig:
    """Sizes: images of grid = (height, width) patches, each of patch_size numbers."""

    width: Width
    grid: tuple[int, int]
    patch_size: int
    classes: int


class PatchEncoder(nn.Module):
    """Class logits of an image. Slot: encoder_self (NS, on the grid of patches)."""

    def __init__(self, config: PatchEncoderConfig, slots: Slots) -> None:
        super().__init__()
        width, length = config.width, config.grid[0] * config.grid[1]
        self.embedding = nn.Linear(config.patch_size, width.dim)
        self.positions = GridPositions(config.grid, width.dim)
        self.layers = nn.ModuleList(
            Layer(
                width,
                slots.fill("encoder_self", Pattern.NS, width, length, config.grid),
            )
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.classes)

    def forward(self, patches: Float[Tensor, "B N P"]) -> Float[Tensor, "B K"]:
        """Return logits over the classes, from the mean of the tokens."""
        x = self.positions(self.embedding(patches))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(dim=1))
