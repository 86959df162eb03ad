"""Classify a handwritten digit at a random place of a canvas."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.patch_encoder import PatchEncoder, PatchEncoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._images import digit_images, paste


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
    summary="classify a handwritten digit at a random place of a 14 x 14 canvas",
    backbone="patch encoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    controls={"window": {"window": 8}},
    length="49 patches of 2 x 2 pixels",
    imports=("sklearn.datasets",),
    grid=True,
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn; they are moved, since centred digits need no "
    "attention",
    licence="CC BY 4.0",
    certificate={
        "quick": {
            "margin": 0.3,
            "seeds": 3,
            "measured": {
                "softmax": 0.859,
                "none": 0.466,
                "mean": 0.271,
                "window (window=8)": 0.941,
            },
        }
    },
    diagnostic=("quick",),
)
class Digits(Task):
    """Real 8 x 8 digits at uniform places; the 1,797 images are split before they are placed.

    Diagnostic: distant patches are unrelated here, and a window of 8 patches classifies better
    than softmax.
    """

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
        return digit_images()

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Place random digits of a split; validation and test take each image in turn."""
        images, targets = self._images[split]
        which = choose(count, len(images), generator)
        if split != "train":
            which = torch.arange(count) % len(images)
        canvas: Canvas = self.recipe.data
        row, column = choose(2 * count, canvas.side - 7, generator).view(2, count, 1)
        pictures = paste(images[which][:, None], row, column, (canvas.side, canvas.side))
        patches = F.unfold(pictures[:, None], canvas.patch, stride=canvas.patch).mT
        return {"inputs": patches, "targets": targets[which]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the patch encoder."""
        return PatchEncoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each digit was classified correctly."""
        return {"accuracy": (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()}
