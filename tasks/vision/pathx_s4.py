"""Pathfinder on 16,384 pixels, at the sizes of S4."""

from cab.registry import register_task
from cab.tasks._lra import S4_EVALUATIONS, of_s4, s4_width
from cab.tasks.vision._pathx import LARGE
from cab.tasks.vision.pathfinder import Pathfinder, Pictures, recipe


@register_task(
    name="pathx-s4",
    domain="vision",
    pattern="ns",
    summary="decide whether two discs on a 128 x 128 image lie on the same dashed path, at the "
    "sizes of S4",
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
    "this size are known to be faulty (issue 38 of its repository). The sizes and the training of "
    "S4 (Gu et al., 2022, arXiv 2111.00396): the variant and a feed-forward of twice the width in "
    "place of S4's layer, layer norms, batches drawn with replacement",
    licence="generated",
    suites={"lra-s4": {"accuracy": "Path-X"}},
    diagnostic=("full",),
)
class PathXS4(Pathfinder):
    """160,000 different pictures are trained on."""

    recipes = {  # noqa: RUF012
        "full": recipe(
            Pictures(LARGE, patch=1, training=160_000),
            s4_width(),
            of_s4(500_000, 16, 0.001),
            20_000,
            evaluations=S4_EVALUATIONS,
        ),
    }
