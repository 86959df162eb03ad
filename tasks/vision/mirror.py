"""Name the handwritten digit opposite each digit of an image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.patch_reader import PatchReader, PatchReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training, choose
from cab.tasks._labels import LabelledTask
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, standard
from cab.tasks.vision._images import CLASSES, SIDE, images_of, most_frequent_answer


@dataclass(frozen=True)
class Wall:
    """`rows` x `columns` handwritten digits in the middle of a picture of `side` x `side` cells.

    The other cells are black. A patch is a cell.
    """

    rows: int
    columns: int
    side: int

    def __post_init__(self) -> None:
        for shown in (self.rows, self.columns):
            if shown % 2 or not 0 < shown <= self.side or self.side % 2:
                raise ValueError(
                    "mirror needs even rows, columns and side, the first two up to the last, so "
                    "that the digits stand in the middle and each has another one opposite"
                )


def _recipe(
    levels: tuple[Wall, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    side = levels[-1].side
    model = PatchReaderConfig(width, (side, side), features=SIDE**2, outputs=CLASSES)
    return Recipe(levels[-1], model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="mirror",
    domain="vision",
    pattern="ns",
    summary="name the handwritten digit opposite each of 36 digits, across the image's centre",
    backbone="patch reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=2,
    length="36 cells of 8 x 8 pixels",
    imports=("sklearn.datasets",),
    grid=True,
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn",
    licence="CC BY 4.0",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.15,
            "seeds": 3,
            "measured": {
                "mean": 0.203,
                "none": 0.1,
                "softmax": 0.981,
                "window": 0.76,
                "most frequent": 0.268,
            },
            "floors": (0.3887, 0.3156, 0.2384, 0.2137, 0.1815),
        },
        "standard": {"margin": 0.15, "seeds": 3},
    },
)
class Mirror(LabelledTask):
    """Every digit answers with the class of the digit opposite its own, across the centre.

    The levels are the number of digits. The place to attend to does not depend on content, but it
    is another one for each cell, and most are farther than a window reaches.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (Wall(2, 2, side=4), Wall(4, 4, side=4)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": _recipe(
            tuple(
                Wall(rows, columns, side=6)
                for rows, columns in ((2, 2), (2, 4), (4, 4), (4, 6), (6, 6))
            ),
            Width(dim=64, heads=4, layers=2),
            Training(800, 32, 4e-3),
            200,
            rates=(2e-3, 4e-3, 8e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(Wall(side, side, side=16) for side in (2, 4, 8, 12, 16)),
                DEEP,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Fill walls with images of a split, whose classes are drawn alone."""
        params: Wall = self.recipe.data
        shape = (count, params.rows, params.columns)
        classes = choose(shape[0] * shape[1] * shape[2], CLASSES, generator).view(shape)
        images = images_of(classes, split, generator).flatten(3)
        above, beside = ((params.side - shown) // 2 for shown in shape[1:])
        margins = (beside, beside, above, above)
        inputs = F.pad(images, (0, 0, *margins))
        targets = F.pad(classes.flip(1, 2), margins, value=IGNORED)
        return {"inputs": inputs.flatten(1, 2), "targets": targets.flatten(1)}

    def build(self, slots: Slots) -> nn.Module:
        """Build the patch reader."""
        return PatchReader(self.recipe.model, slots)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the most frequent answer of each picture would score everywhere."""
        return {"most frequent": most_frequent_answer(batch["targets"])}
