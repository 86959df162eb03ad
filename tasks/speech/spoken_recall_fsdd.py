"""At a repeated word, recall the word that followed it the first time, in real recordings."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks.speech._recordings import Hearing, Sayings
from cab.tasks.speech.spoken_recall import SpokenRecall, recipe


@register_task(
    name="spoken-recall-fsdd",
    domain="speech",
    pattern="cs",
    summary="at a repeated spoken digit, recall the digit that followed it before",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="up to 72 tokens of 100 ms",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018); log mel of 40 bands every 12.5 ms, "
    "eight frames a token",
    licence="CC BY-SA 4.0",
    diagnostic=("quick",),
    controls={"window": {"window": 4}},
    certificate={
        "quick": {
            "margin": 0.3,
            "seeds": 3,
            "measured": {
                "softmax": 0.884,
                "none": 0.106,
                "mean": 0.251,
                "window (window=4)": 0.222,
                "last new word": 0.25,
            },
        }
    },
)
class SpokenRecallFsdd(SpokenRecall):
    """Five digits of one speaker, then four of them again; the test recordings are official."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            (Sayings(3, Hearing(stack=8, longest=8)),),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": recipe(
            (Sayings(5, Hearing(stack=8, longest=8)),),
            Width(dim=64, heads=4, layers=3, short_convolution=3),
            Training(1000, 32, 3e-3),
            500,
        ),
    }
