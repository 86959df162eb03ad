"""A ViT-style encoder (Dosovitskiy et al., 2021, arXiv 2010.11929) with outputs per patch."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cab.backbones.layers import GridPositions, Layer
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class PatchReaderConfig:
    """Sizes: grid = (height, width) patches of `features` numbers, outputs per patch."""

    width: Width
    grid: tuple[int, int]
    features: int
    outputs: int


class PatchReader(nn.Module):
    """Numbers for every patch, from the whole image. Slot: encoder_self (NS, on the grid)."""

    def __init__(self, config: PatchReaderConfig, slots: Slots) -> None:
        super().__init__()
        width, length = config.width, config.grid[0] * config.grid[1]
        self.embedding = nn.Linear(config.features, width.dim)
        self.positions = GridPositions(config.grid, width.dim, spread=0.5)
        self.layers = nn.ModuleList(
            Layer(width, slots.fill("encoder_self", Pattern.NS, width, length, config.grid))
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.outputs)

    def forward(self, patches: Float[Tensor, "B N F"]) -> Float[Tensor, "B N O"]:
        """Return the outputs, one row per patch."""
        x = self.positions(self.embedding(patches))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))
