"""Pathfinder on images of 16,384 pixels, the longest task of Long Range Arena."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks.vision._pathfinder import Paths
from cab.tasks.vision.pathfinder import Pathfinder, Pictures, recipe

LARGE = Paths(
    side=128,
    dashes=14,
    dash=5.0,
    gap=3.0,
    thick=1.5,
    clear=5.0,
    near=20.0,
    disc=3.0,
    alike=8.0,
    distractors=8,
    distractor_dashes=4,
    stiff=1.8,
    shade=0.9,
)


@register_task(
    name="pathx",
    domain="vision",
    pattern="ns",
    summary="decide whether two discs on a 128 x 128 image lie on the same dashed path",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="16,384 pixels",
    grid=True,
    source="Path-X of Long Range Arena (Tay et al., 2020, arXiv 2011.04006), drawn as in "
    "`pathfinder`; the released images of this size are known to be faulty (issue 38 of its "
    "repository)",
    licence="generated",
)
class PathX(Pathfinder):
    """Sizes in pixels are those of the published generator; standard and full only."""

    recipes = {  # noqa: RUF012
        "standard": recipe(
            Pictures(LARGE, patch=1, training=20_000),
            Width(dim=64, heads=4, layers=4),
            Training(20_000, 16, 1e-3, weight_decay=0.0),
            1000,
        ),
        "full": recipe(
            Pictures(LARGE, patch=1, training=160_000),
            Width(dim=128, heads=8, layers=6),
            Training(250_000, 16, 5e-4, weight_decay=0.05),
            20_000,
        ),
    }
