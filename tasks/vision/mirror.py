"""Name the handwritten digit opposite each digit of an image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.patch_reader import PatchReader, PatchReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._images import SIDE, images_of

CLASSES = 10


@dataclass(frozen=True)
class Wall:
    """`digits` handwritten digits on a side of the square picture, in square patches."""

    digits: int
    patch: int = 4

    @property
    def within(self) -> int:
        """Patches on a side of a digit."""
        return SIDE // self.patch

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.digits * self.within, self.digits * self.within


def _recipe(params: Wall, width: Width, training: Training, examples: int) -> Recipe:
    model = PatchReaderConfig(width, params.grid, features=params.patch**2, outputs=CLASSES)
    return Recipe(params, model, training, examples // 2, examples)


@register_task(
    name="mirror",
    domain="vision",
    pattern="ns",
    summary="name the handwritten digit opposite each of 16 digits, across the image's centre",
    backbone="patch reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="64 patches of 4 x 4 pixels",
    imports=("sklearn.datasets",),
    grid=True,
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn",
    licence="CC BY 4.0",
    controls={"window": {"window": 8}},
    certificate={
        "quick": {
            "margin": 0.5,
            "seeds": 3,
            "measured": {
                "softmax": 0.975,
                "none": 0.1,
                "mean": 0.17,
                "window (window=8)": 0.182,
                "most frequent": 0.233,
            },
        }
    },
)
class Mirror(Task):
    """Every patch answers with the class of the digit opposite its own.

    The position to attend to does not depend on content. With one that also depends on the digit
    (below, or across the centre, by its class), softmax reached only 0.6 in a minute.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Wall(2), Width(dim=16, heads=2, layers=1), Training(4, 16, 3e-3), 50),
        "quick": _recipe(Wall(4), Width(dim=64, heads=4, layers=3), Training(700, 32, 3e-3), 400),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Fill walls with images of a split, whose classes are drawn alone."""
        params: Wall = self.recipe.data
        classes = choose(count * params.digits**2, CLASSES, generator)
        classes = classes.view(count, params.digits, params.digits)
        rows = images_of(classes, split, generator).transpose(2, 3)
        pictures = rows.reshape(count, 1, SIDE * params.digits, SIDE * params.digits)
        targets = classes.flip(1, 2)
        for axis in (1, 2):
            targets = targets.repeat_interleave(params.within, dim=axis)
        return {
            "inputs": F.unfold(pictures, params.patch, stride=params.patch).mT,
            "targets": targets.flatten(1),
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the patch reader."""
        return PatchReader(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each picture's patches whose answer is right."""
        answers = model(batch["inputs"]).argmax(dim=-1)
        return {"accuracy": (answers == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the most frequent answer of each picture would score everywhere."""
        counts = F.one_hot(batch["targets"], CLASSES).sum(dim=1)
        return {"most frequent": counts.amax(dim=1) / batch["targets"].shape[1]}
