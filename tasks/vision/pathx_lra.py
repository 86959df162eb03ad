"""Pathfinder on 16,384 pixels, at the sizes of Long Range Arena."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks._lra import by_cosine
from cab.tasks.vision._pathx import LARGE
from cab.tasks.vision.pathfinder import Pathfinder, Pictures, recipe


@register_task(
    name="pathx-lra",
    domain="vision",
    pattern="ns",
    summary="decide whether two discs on a 128 x 128 image lie on the same dashed path, as in "
    "Long Range Arena",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="16,384 pixels",
    grid=True,
    source="Path-X of Long Range Arena (Tay et al., 2020, arXiv 2011.04006), drawn as in "
    "`pathfinder`: paths begin anywhere instead of at the centre, answers are drawn with equal "
    "chances, and the distance of the discs does not depend on the answer; the released images of "
    "this size are known to be faulty (issue 38 of its repository). LRA's own training and sizes "
    "for its Transformer. Unlike there, projections are as wide as the model (16 there), "
    "positions are a learned vector per row and column instead of one per pixel, attention has no "
    "dropout, the head is linear and batches are drawn with replacement",
    licence="generated",
    suites={"lra": {"accuracy": "Path-X"}},
    diagnostic=("standard", "full"),
)
class PathXLra(Pathfinder):
    """160,000 different pictures are trained on, in 200 epochs; standard is smaller."""

    recipes = {  # noqa: RUF012
        "standard": recipe(
            Pictures(LARGE, patch=1, training=20_000),
            Width(dim=64, heads=4, layers=4),
            Training(20_000, 16, 1e-3, weight_decay=0.0),
            1_000,
        ),
        "full": recipe(
            Pictures(LARGE, patch=1, training=160_000),
            Width(dim=32, heads=2, layers=1, expansion=1, dropout=0.1),
            by_cosine(160_000, 64, 1e-3, clip=1.0),
            20_000,
        ),
    }
