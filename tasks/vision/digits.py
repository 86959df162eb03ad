"""Read a handwritten digit that stands anywhere on a canvas."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.patch_encoder import PatchEncoder, PatchEncoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import Batch, Recipe, Split, Task, Training, choose


@dataclass(frozen=True)
class Canvas:
    """Side of the square canvas and of its square patches, in pixels."""

    side: int = 14
    patch: int = 2

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.side // self.patch, self.side // self.patch


def _model(width: Width) -> PatchEncoderConfig:
    canvas = Canvas()
    return PatchEncoderConfig(width, grid=canvas.grid, patch_size=canvas.patch**2, classes=10)


@register_task(
    name="digits",
    domain="vision",
    pattern="ns",
    summary="which handwritten digit stands at a random place of a 14 x 14 canvas?",
    backbone="patch encoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="49 patches of 2 x 2 pixels",
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn; centred digits need no attention, so they are moved",
    licence="CC BY 4.0",
    necessity={
        "quick": {
            "margin": 0.3,
            "seeds": 1,
            "measured": {"softmax": 0.860, "none": 0.458, "mean": 0.273},
        }
    },
)
class Digits(Task):
    """Real 8 x 8 digits at uniform places; the 1,797 images are split before they are placed."""

    recipes = {  # noqa: RUF012
        "smoke": Recipe(
            Canvas(), _model(Width(dim=32, heads=2, layers=1)), Training(4, 16, 3e-3), 50, 50
        ),
        "quick": Recipe(
            Canvas(), _model(Width(dim=64, heads=4, layers=2)), Training(1500, 64, 3e-3), 200, 400
        ),
    }

    @cached_property
    def _images(self) -> dict[Split, tuple[Tensor, Tensor]]:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=seeded("digits", "split"))
        images = torch.from_numpy(pixels).float().view(-1, 8, 8)[order] / 16
        targets = torch.from_numpy(labels).long()[order]
        cuts: dict[Split, slice] = {
            "test": slice(0, 400),
            "valid": slice(400, 600),
            "train": slice(600, None),
        }
        return {split: (images[cut], targets[cut]) for split, cut in cuts.items()}

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Place random digits of a split; validation and test take each image in turn."""
        images, targets = self._images[split]
        which = choose(count, len(images), generator)
        if split != "train":
            which = torch.arange(count) % len(images)
        canvas: Canvas = self.recipe.data
        row, column = choose(2 * count, canvas.side - 7, generator).view(2, count, 1, 1)
        within = torch.arange(8)
        pictures = torch.zeros(count, canvas.side, canvas.side)
        example = torch.arange(count).view(count, 1, 1)
        pictures[example, row + within[:, None], column + within] = images[which]
        patches = F.unfold(pictures[:, None], canvas.patch, stride=canvas.patch).mT
        return {"inputs": patches, "targets": targets[which]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the patch encoder."""
        return PatchEncoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each digit was read."""
        return {"accuracy": (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()}
