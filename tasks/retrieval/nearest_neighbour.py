"""Find the nearest of several random points: a target that heads of low rank cannot compute."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training, choose
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, standard
from cab.tasks.retrieval._vectors import VectorMemory, recipe


@dataclass(frozen=True)
class Points:
    """points N on the unit sphere in `dim` dimensions, each with one of `classes` labels."""

    points: int
    dim: int
    classes: int

    def __post_init__(self) -> None:
        if self.points < 1 or self.dim < 2 or self.classes < 2:
            raise ValueError("nearest-neighbour needs points >= 1, dim >= 2 and classes >= 2")


def generate(params: Points, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return points and queries (count, N, dim), the points' labels and targets (count, N).

    Points and queries are independent and uniform on the sphere. The target of a query is the
    label of the point that is nearest to it.
    """
    shape = (count, params.points, params.dim)
    points, queries = (
        F.normalize(torch.randn(shape, generator=generator), dim=-1) for _ in range(2)
    )
    labels = choose(count * params.points, params.classes, generator).view(count, params.points)
    nearest = (queries @ points.mT).argmax(dim=2)
    return {
        "points": points,
        "labels": labels,
        "inputs": queries,
        "targets": labels.gather(1, nearest),
    }


def _recipe(
    levels: tuple[Points, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    return recipe(levels, levels[-1].points, width, training, examples, examples, rates)


@register_task(
    name="nearest-neighbour",
    domain="retrieval",
    pattern="nc",
    summary="name the label of the nearest of up to 16 random points, which needs heads of full "
    "rank",
    backbone="context reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=1,
    length="16 queries, 16 points",
    source="the target of On the Benefits of Rank in Attention Layers (Amsel, Yehudai, Bruna, "
    "2024, arXiv 2407.16153), with a label in place of the point",
    licence="generated",
    diagnostic=("quick", "standard"),
)
class NearestNeighbour(VectorMemory):
    """The nearest neighbour function of points and queries that are uniform on a sphere.

    One softmax head whose queries and keys are as wide as the points computes it at any number of
    points. Heads that are narrower need a number that grows exponentially with the dimension of
    the points, as the paper proves for one layer, so there is one here: compare `--set
    model.heads=1` with 16. Unlike in `nearest-key`, no query is close to a point.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Points(points, dim=4, classes=4) for points in (2, 4)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Points(points, dim=16, classes=16) for points in (2, 4, 8, 16)),
            Width(dim=64, heads=4, layers=1),
            Training(1500, 64, 3e-3),
            200,
            rates=(1.5e-3, 3e-3, 6e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(Points(points, dim=64, classes=32) for points in (2, 4, 8, 16, 32)),
                SHALLOW,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators, as points are real numbers."""
        drawn = generate(self.recipe.data, count, generator)
        return self.batch(drawn["points"], drawn)
