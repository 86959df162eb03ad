"""Name the handwritten digit whose frame is the same as that of an empty cell."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.patch_reader import PatchReader, PatchReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import IGNORED, Batch, Recipe, Split, Training, choose
from cab.tasks._labels import LabelledTask
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, standard
from cab.tasks.vision._images import CLASSES, SIDE, images_of, most_frequent_answer

BORDER = 2
"""The thickness of a frame in pixels; a cell is a digit and its frame."""
CELL = SIDE + 2 * BORDER
"""Height and width of a cell in pixels."""


@dataclass(frozen=True)
class Frames:
    """A picture of `side` x `side` cells, with `pairs` framed digits and as many empty frames.

    `kinds` is how many different frames there are.
    """

    pairs: int
    kinds: int
    side: int

    def __post_init__(self) -> None:
        if self.pairs > self.kinds or 2 * self.pairs > self.side**2:
            raise ValueError("frame-recall needs pairs <= kinds and 2 pairs <= side squared")


@cache
def frames(kinds: int) -> Tensor:
    """Return frames (kinds, CELL, CELL), black inside; each is a random ring of 2 x 2 squares."""
    squares = CELL // BORDER
    light = torch.rand(kinds, squares, squares, generator=seeded("frames", kinds)).round()
    light[:, 1:-1, 1:-1] = 0
    return light.repeat_interleave(BORDER, dim=1).repeat_interleave(BORDER, dim=2)


def generate(
    params: Frames, split: Split, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return cells (count, side^2, CELL, CELL) in raster order and targets (count, side^2).

    K different frames each stand around a random digit in one cell and around nothing in another;
    the other cells are black. The target of an empty frame is the digit with the same frame.
    """
    cells, pairs = params.side**2, params.pairs
    kinds, places = (
        torch.rand(count, size, generator=generator).argsort(dim=1)[:, :kept]
        for size, kept in ((params.kinds, pairs), (cells, 2 * pairs))
    )
    classes = choose(count * pairs, CLASSES, generator).view(count, pairs)
    empty = frames(params.kinds)[kinds]
    full = empty + F.pad(images_of(classes, split, generator), (BORDER,) * 4)
    example = torch.arange(count)[:, None]
    pictures = torch.zeros(count, cells, CELL, CELL)
    pictures[example, places] = torch.cat((full, empty), dim=1)
    targets = torch.full((count, cells), IGNORED)
    targets[example, places[:, pairs:]] = classes
    return pictures, targets


def _recipe(
    levels: tuple[Frames, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    side = levels[-1].side
    model = PatchReaderConfig(width, (side, side), features=CELL**2, outputs=CLASSES)
    return Recipe(levels[-1], model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="frame-recall",
    domain="vision",
    pattern="ns",
    summary="name the handwritten digit that has the frame of each of 32 empty cells of an image",
    backbone="patch reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="64 cells of 12 x 12 pixels",
    imports=("sklearn.datasets",),
    grid=True,
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn; the question is that of MQAR (Zoology, Arora et "
    "al., 2023, arXiv 2312.04927)",
    licence="CC BY 4.0",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.5,
            "seeds": 3,
            "measured": {
                "mean": 0.202,
                "none": 0.099,
                "softmax": 0.977,
                "window": 0.289,
                "most frequent": 0.332,
            },
            "floors": (0.56, 0.3688, 0.2994, 0.2378, 0.1933),
        },
        "standard": {"margin": 0.5, "seeds": 3},
    },
)
class FrameRecall(LabelledTask):
    """Associative recall on an image: framed digits and empty frames stand anywhere in a grid.

    The levels are the number of framed digits. Where to look depends on what an empty cell's frame
    is; neither a neighbourhood nor a mean over the cells holds the answer. No image of a digit is
    in two splits.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Frames(pairs, kinds=8, side=4) for pairs in (2, 4)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Frames(pairs, kinds=64, side=8) for pairs in (2, 4, 8, 16, 32)),
            Width(dim=32, heads=2, layers=2),
            Training(900, 32, 4e-3),
            200,
            rates=(2e-3, 4e-3, 8e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(Frames(pairs, kinds=256, side=16) for pairs in (2, 8, 32, 64, 128)),
                DEEP,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Fill pictures with images of a split."""
        cells, targets = generate(self.recipe.data, split, count, generator)
        return {"inputs": cells.flatten(2), "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the patch reader."""
        return PatchReader(self.recipe.model, slots)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the most frequent answer of each picture would score everywhere."""
        return {"most frequent": most_frequent_answer(batch["targets"])}
