"""Find the cell of each handwritten digit of an image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cab.backbones.query_reader import QueryReader, QueryReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks._labels import LabelledTask
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, standard
from cab.tasks.vision._images import CLASSES, SIDE, images_of


@dataclass(frozen=True)
class Cells:
    """`digits` of different classes in a square of `side` x `side` cells, the others black.

    A patch is a cell.
    """

    digits: int
    side: int

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= min(CLASSES, self.side**2):
            raise ValueError("locate needs from 1 to 10 digits and a cell for each of them")


def _recipe(
    levels: tuple[Cells, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    hardest = levels[-1]
    cells = hardest.side**2
    model = QueryReaderConfig(
        width,
        features=SIDE**2,
        length=cells,
        questions=CLASSES,
        answers=cells,
        grid=(hardest.side, hardest.side),
    )
    return Recipe(hardest, model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="locate",
    domain="vision",
    pattern="nc",
    summary="find the cell of each of ten handwritten digits in an image",
    backbone="query reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.04,
    version=2,
    length="10 queries, 25 cells of 8 x 8 pixels",
    imports=("sklearn.datasets",),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn",
    licence="CC BY 4.0",
    certificate={
        "quick": {
            "margin": 0.5,
            "seeds": 3,
            "measured": {
                "mean": 0.227,
                "none": 0.039,
                "softmax": 0.978,
                "first digit's place": 0.228,
            },
            "floors": (0.5083, 0.25, 0.1667, 0.125, 0.1),
        },
        "standard": {"margin": 0.5, "seeds": 3},
    },
)
class Locate(LabelledTask):
    """Digits of different classes stand anywhere; the answer to each class is its cell.

    The levels are the number of digits. Only attention to the image tells a question where a
    digit is, and a mean over the cells mixes the places of all digits.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (Cells(2, side=3), Cells(4, side=3)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Cells(digits, side=5) for digits in (2, 4, 6, 8, 10)),
            Width(dim=64, heads=4, layers=2),
            Training(700, 32, 3e-3),
            200,
            rates=(1.5e-3, 3e-3, 6e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(Cells(digits, side=16) for digits in (2, 4, 6, 8, 10)),
                DEEP,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Place images of a split: random classes, one image of each, in different cells."""
        params: Cells = self.recipe.data
        cells = params.side**2
        classes, places = (
            torch.rand(count, size, generator=generator).argsort(dim=1)[:, : params.digits]
            for size in (CLASSES, cells)
        )
        source = torch.zeros(count, cells, SIDE**2)
        example = torch.arange(count)[:, None]
        source[example, places] = images_of(classes, split, generator).flatten(2)
        return {"source": source, "inputs": classes, "targets": places}

    def build(self, slots: Slots) -> nn.Module:
        """Build the query reader."""
        return QueryReader(self.recipe.model, slots)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each position (B, N, V)."""
        return model(batch["source"], batch["inputs"])

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the first place in raster order that holds any digit scores."""
        first = batch["targets"].amin(dim=1, keepdim=True)
        return {"first digit's place": self.score(first, batch)}
