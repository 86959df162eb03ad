"""Find the position of each handwritten digit on a canvas."""

import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.query_reader import QueryReader, QueryReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._images import SIDE, images_of, paste


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
    model = QueryReaderConfig(
        width,
        features=params.patch**2,
        length=params.grid[0] * params.grid[1],
        questions=10,
        answers=params.corners**2,
        grid=params.grid,
    )
    return Recipe(params, model, training, examples, examples)


@register_task(
    name="locate",
    domain="vision",
    pattern="nc",
    summary="find the position of each of three handwritten digits on a canvas",
    backbone="query reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.04,
    version=1,
    length="3 queries, 36 patches of 4 x 4 pixels",
    imports=("sklearn.datasets",),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn",
    licence="CC BY 4.0",
    certificate={
        "quick": {
            "margin": 0.4,
            "seeds": 3,
            "measured": {
                "softmax": 0.92,
                "none": 0.052,
                "mean": 0.332,
                "first digit's place": 0.333,
            },
        }
    },
)
class Locate(Task):
    """Three digits of different classes; the answer to each class is one of 25 positions."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Crowd(), Width(dim=16, heads=2, layers=1), Training(4, 16, 3e-3), 50),
        "quick": _recipe(Crowd(), Width(dim=64, heads=4, layers=2), Training(800, 32, 3e-3), 500),
    }

    @cached_property
    def _placements(self) -> Tensor:
        return placements(self.recipe.data)

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Place images of a split: random classes, one image of each, anywhere apart."""
        params: Crowd = self.recipe.data
        classes = torch.rand(count, 10, generator=generator).argsort(dim=1)[:, : params.digits]
        images = images_of(classes, split, generator)
        place = self._placements[choose(count, len(self._placements), generator)]
        row, column = place.unbind(dim=-1)
        size = (params.side, params.side)
        canvases = paste(images, row * params.patch, column * params.patch, size)
        return {
            "source": F.unfold(canvases[:, None], params.patch, stride=params.patch).mT,
            "inputs": classes,
            "targets": row * params.corners + column,
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the query reader."""
        return QueryReader(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["source"], batch["inputs"]).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each canvas's digits whose place is right."""
        answers = model(batch["source"], batch["inputs"]).argmax(dim=-1)
        return {"accuracy": (answers == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the first place in raster order that holds any digit scores."""
        first = batch["targets"].amin(dim=1, keepdim=True)
        return {"first digit's place": (batch["targets"] == first).float().mean(dim=1)}
