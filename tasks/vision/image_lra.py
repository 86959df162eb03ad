"""Classify grey images pixel by pixel, at the sizes of Long Range Arena."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.tasks._lra import by_cosine
from cab.tasks.vision._image import Image, recipe


@register_task(
    name="image-lra",
    domain="vision",
    pattern="ns",
    summary="classify a grey image of 32 x 32 pixels into ten classes, pixel by pixel, as in "
    "Long Range Arena",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="1,025: 1,024 pixels and a token of its own",
    data=("cifar10",),
    imports=("datasets",),
    source="CIFAR-10 (Krizhevsky, 2009) in grey, the image task of Long Range Arena (Tay et al., "
    "2020, arXiv 2011.04006), without augmentation; LRA's own training and sizes for its "
    "Transformer, whose sizes differ from model to model. Unlike there, projections are as wide "
    "as the model (64 there), attention has no dropout, the head is linear and batches are drawn "
    "with replacement. Tested on small files of the same format only, not on the real set",
    licence="none stated",
    suites={"lra": {"accuracy": "Image"}},
    diagnostic=("full",),
)
class ImageLra(Image):
    """One layer, a learned vector per pixel; a tenth of the training images validates."""

    recipes = {  # noqa: RUF012
        "full": recipe(
            Width(dim=128, heads=8, layers=1, expansion=1, dropout=0.3),
            by_cosine(45_000, 256, 5e-4),
            grid=False,
            valid=4_000,
            pool="cls",
        ),
    }
