"""Classify grey images pixel by pixel, at the sizes of S4."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks._lra import S4_EVALUATIONS, of_s4, s4_width
from cab.tasks.vision._image import Image, recipe


@register_task(
    name="image-s4",
    domain="vision",
    pattern="ns",
    summary="classify a grey image of 32 x 32 pixels into ten classes, pixel by pixel, at the "
    "sizes of S4",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="1,024 pixels",
    data=("cifar10",),
    imports=("datasets",),
    grid=True,
    source="CIFAR-10 (Krizhevsky, 2009) in grey, the image task of Long Range Arena (Tay et al., "
    "2020, arXiv 2011.04006), without augmentation; a learned vector per row and column instead "
    "of one per pixel. In full, the sizes and the training of S4 (Gu et al., 2022, arXiv "
    "2111.00396): the variant and a feed-forward of twice the width in place of S4's layer, layer "
    "norms, batches drawn with replacement. Tested on small files of the same format only, not on "
    "the real set",
    licence="none stated",
    suites={"lra-s4": {"accuracy": "Image"}},
    diagnostic=("standard", "full"),
)
class ImageS4(Image):
    """A tenth of the training images is for validation; images of the test set are left out."""

    recipes = {  # noqa: RUF012
        "standard": recipe(
            Width(dim=128, heads=4, layers=4, expansion=2, dropout=0.1),
            Training(35_000, 64, 1e-3, weight_decay=0.01),
            grid=True,
            valid=2_000,
        ),
        "full": recipe(
            s4_width(512, dropout=0.1),
            of_s4(180_000, 50, 0.01),
            grid=True,
            valid=4_000,
            evaluations=S4_EVALUATIONS,
        ),
    }
