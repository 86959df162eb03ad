"""Predict the next code of real recordings of spoken digits."""

from cab.registry import register_task
from cab.tasks.speech.audio_lm import QUICK, SMOKE, NextCode


@register_task(
    name="audio-lm-fsdd",
    domain="speech",
    pattern="cs",
    summary="predict the next code of six digits of one speaker (bits per code)",
    backbone="decoder",
    metric="bits_per_code",
    higher_is_better=False,
    chance=6.0,
    version=1,
    length="up to 144 codes of 25 ms",
    data=("fsdd",),
    imports=("datasets",),
    source="Free Spoken Digit Dataset (Jackson et al., 2018); log mel of 40 bands every 12.5 ms, "
    "two frames a code of 64, by a random-projection quantiser (Chiu et al., 2022, arXiv "
    "2202.01855)",
    licence="CC BY-SA 4.0",
    diagnostic=("quick",),
)
class AudioLmFsdd(NextCode):
    """Recordings of six speakers; the test recordings are the official ones."""

    recipes = {"smoke": SMOKE, "quick": QUICK}  # noqa: RUF012
