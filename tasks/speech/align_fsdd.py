"""Find where each word of a stream begins, in real recordings."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks.speech._recordings import Hearing, Sayings
from cab.tasks.speech.align import Align, recipe


@register_task(
    name="align-fsdd",
    domain="speech",
    pattern="nc",
    summary="find the beginning of each of four spoken digits",
    backbone="query reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.075,
    version=1,
    length="4 queries, up to 40 keys of 100 ms",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018); log mel of 40 bands every 12.5 ms, "
    "eight frames a token",
    licence="CC BY-SA 4.0",
    diagnostic=("quick",),
    certificate={
        "quick": {
            "margin": 0.55,
            "seeds": 3,
            "measured": {"softmax": 0.967, "none": 0.252, "mean": 0.297, "beginning": 0.252},
        }
    },
)
class AlignFsdd(Align):
    """Four different digits of one speaker; the test recordings are the official ones."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            (Sayings(2, Hearing(stack=8, longest=10)),),
            Width(dim=16, heads=2, layers=1),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": recipe(
            (Sayings(4, Hearing(stack=8, longest=10)),),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(700, 32, 3e-3),
            500,
        ),
    }
