"""Fill a hole in one of two equal handwritten digits."""

import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.patch_reader import PatchReader, PatchReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._images import SIDE, digit_images, paste


@dataclass(frozen=True)
class Crowd:
    """`digits` of different classes on a square canvas of `side` pixels, in square patches.

    Their corners lie on the patches' corners; no two overlap.
    """

    digits: int = 3
    side: int = 24
    patch: int = 4

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.side // self.patch, self.side // self.patch

    @property
    def corners(self) -> int:
        """In how many rows, and in how many columns, a digit can stand."""
        return (self.side - SIDE) // self.patch + 1


def placements(params: Crowd) -> Tensor:
    """Return every way to place the digits without overlap: (ways, digits, 2), row and column."""

    def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        rows, columns = abs(one[0] - other[0]), abs(one[1] - other[1])
        return max(rows, columns) * params.patch < SIDE

    corners = list(itertools.product(range(params.corners), repeat=2))
    return torch.tensor(
        [
            chosen
            for chosen in itertools.combinations(corners, params.digits)
            if not any(overlap(a, b) for a, b in itertools.combinations(chosen, 2))
        ]
    )


def _recipe(params: Crowd, width: Width, training: Training, examples: int) -> Recipe:
    model = PatchReaderConfig(
        width, params.grid, features=params.patch**2 + 1, outputs=params.patch**2
    )
    return Recipe(params, model, training, examples, examples)


@register_task(
    name="inpaint",
    domain="vision",
    pattern="ns",
    summary="fill a hole in a handwritten digit that has a copy elsewhere on the canvas",
    backbone="patch reader",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="36 patches of 4 x 4 pixels",
    imports=("sklearn.datasets",),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn",
    licence="CC BY 4.0",
    grid=True,
    diagnostic=("quick",),
)
class Inpaint(Task):
    """One digit is on the canvas twice, the others once; one patch of one copy is a hole.

    Every patch has a further number, 1 in the hole. A digit covers whole patches, so what fills
    the hole is on the canvas, beside the same neighbours.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Crowd(), Width(dim=16, heads=2, layers=1), Training(4, 16, 3e-3), 50),
        "quick": _recipe(Crowd(), Width(dim=64, heads=4, layers=3), Training(1200, 32, 3e-3), 500),
    }

    @cached_property
    def _placements(self) -> Tensor:
        return placements(self.recipe.data)

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Place different images of a split, the first of them twice, and hide a patch of one."""
        params: Crowd = self.recipe.data
        images = digit_images()[split][0]
        shuffled = torch.rand(count, len(images), generator=generator).argsort(dim=1)
        shown = shuffled[:, : params.digits - 1]
        chosen = images[torch.cat((shown[:, :1], shown), dim=1)]
        # Any order of the places is as likely: the twins may be any two of the digits.
        place = self._placements[choose(count, len(self._placements), generator)]
        order = torch.rand(count, params.digits, generator=generator).argsort(dim=1)
        row, column = place.gather(1, order[..., None].expand(-1, -1, 2)).unbind(dim=-1)
        size = (params.side, params.side)
        canvases = paste(chosen, row * params.patch, column * params.patch, size)
        patches = F.unfold(canvases[:, None], params.patch, stride=params.patch).mT
        within = SIDE // params.patch
        inside = choose(count, within**2, generator)
        down, right = inside // within, inside % within
        hole = (row[:, 0] + down) * params.grid[1] + column[:, 0] + right
        hidden = F.one_hot(hole, patches.shape[1]).bool()
        visible = patches.masked_fill(hidden[..., None], 0.0)
        return {
            "inputs": torch.cat((visible, hidden[..., None].float()), dim=2),
            "hole": hole,
            "targets": patches[hidden],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the patch reader."""
        return PatchReader(self.recipe.model, slots)

    def _filled(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return what the model puts into the holes: (B, pixels of a patch)."""
        patches = model(batch["inputs"])
        return patches[torch.arange(len(patches), device=patches.device), batch["hole"]]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean squared error of the holes' pixels, which are from 0 to 1."""
        return F.mse_loss(self._filled(model, batch), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the mean squared error of each hole's pixels."""
        return {"mse": (self._filled(model, batch) - batch["targets"]).square().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the errors of the training digits' mean patch."""
        targets = batch["targets"]
        images = digit_images()["train"][0]
        mean = F.unfold(images[:, None], self.recipe.data.patch, stride=self.recipe.data.patch)
        return {"mean patch": (targets - mean.mean(dim=(0, 2))).square().mean(dim=1)}
