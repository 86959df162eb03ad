"""Decide whether two discs lie on the same path, at the sizes of Long Range Arena."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.tasks._lra import by_cosine
from cab.tasks.vision.pathfinder import HARD, Pathfinder, Pictures, recipe


@register_task(
    name="pathfinder-lra",
    domain="vision",
    pattern="ns",
    summary="decide whether two discs on a 32 x 32 image lie on the same dashed path, as in Long "
    "Range Arena",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="1,024 pixels",
    grid=True,
    source="Pathfinder (Linsley et al., 2018, arXiv 1805.08315) in the size of Long Range Arena "
    "(Tay et al., 2020, arXiv 2011.04006), drawn as in `pathfinder`: paths begin anywhere instead "
    "of at the centre, answers are drawn with equal chances, and the distance of the discs does "
    "not depend on the answer. LRA's own training and sizes for its Transformer. Unlike there, "
    "projections are as wide as the model (16 there), positions are a learned vector per row and "
    "column (sines there), attention has no dropout, the head is linear and batches are drawn "
    "with replacement",
    licence="generated",
    suites={"lra": {"accuracy": "Pathfinder"}},
    diagnostic=("full",),
)
class PathfinderLra(Pathfinder):
    """160,000 different pictures are trained on, in 200 epochs."""

    recipes = {  # noqa: RUF012
        "full": recipe(
            Pictures(HARD, patch=1, training=160_000),
            Width(dim=32, heads=4, layers=4, expansion=1, dropout=0.2),
            by_cosine(160_000, 512, 1e-3),
            20_000,
        ),
    }
