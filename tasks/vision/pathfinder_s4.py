"""Decide whether two discs lie on the same path, at the sizes of S4."""

from cab.registry import register_task
from cab.tasks._lra import S4_EVALUATIONS, of_s4, s4_width
from cab.tasks.vision.pathfinder import HARD, Pathfinder, Pictures, recipe


@register_task(
    name="pathfinder-s4",
    domain="vision",
    pattern="ns",
    summary="decide whether two discs on a 32 x 32 image lie on the same dashed path, at the "
    "sizes of S4",
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
    "not depend on the answer. The sizes and the training of S4 (Gu et al., 2022, arXiv "
    "2111.00396): the variant and a feed-forward of twice the width in place of S4's layer, layer "
    "norms, batches drawn with replacement",
    licence="generated",
    suites={"lra-s4": {"accuracy": "Pathfinder"}},
    diagnostic=("full",),
)
class PathfinderS4(Pathfinder):
    """160,000 different pictures are trained on."""

    recipes = {  # noqa: RUF012
        "full": recipe(
            Pictures(HARD, patch=1, training=160_000),
            s4_width(),
            of_s4(500_000, 64, 0.004),
            20_000,
            evaluations=S4_EVALUATIONS,
        ),
    }
