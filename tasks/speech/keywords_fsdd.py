"""Recognise a spoken digit, in real recordings."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks.speech._recordings import Hearing
from cab.tasks.speech._single import Window
from cab.tasks.speech.keywords import Keywords, recipe


@register_task(
    name="keywords-fsdd",
    domain="speech",
    pattern="ns",
    summary="recognise a spoken digit, somewhere in 1.6 seconds",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="64 tokens of 25 ms",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018); log mel of 40 bands every 12.5 ms, "
    "two frames a token",
    licence="CC BY-SA 4.0",
)
class KeywordsFsdd(Keywords):
    """The test recordings are the official ones; all six speakers are in the training split."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Window(24, Hearing(stack=4, longest=16)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 8, 3e-3),
            valid=20,
            test=20,
        ),
        "quick": recipe(
            Window(64, Hearing(stack=2, longest=40)),
            Width(dim=64, heads=4, layers=2),
            Training(800, 32, 2e-3),
            valid=180,
            test=300,
        ),
    }
