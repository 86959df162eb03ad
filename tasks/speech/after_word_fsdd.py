"""Name the word that follows each cue word, in real recordings."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks.speech._recordings import Hearing, Sayings
from cab.tasks.speech.after_word import AfterWord, recipe


@register_task(
    name="after-word-fsdd",
    domain="speech",
    pattern="ns",
    summary="name the digit that follows each of four spoken cue digits",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="up to 44 tokens: 4 questions and 40 of 100 ms",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018); log mel of 40 bands every 12.5 ms, "
    "eight frames a token",
    licence="CC BY-SA 4.0",
    diagnostic=("quick",),
    controls={"window": {"window": 4}},
    certificate={
        "quick": {
            "margin": 0.4,
            "seeds": 3,
            "measured": {
                "softmax": 0.866,
                "none": 0.272,
                "mean": 0.245,
                "window (window=4)": 0.336,
                "last word": 0.25,
            },
        }
    },
)
class AfterWordFsdd(AfterWord):
    """Five different digits of one speaker; the test recordings are the official ones."""

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
