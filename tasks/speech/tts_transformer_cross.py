"""Synthesise speech, frame by frame, with the variant between speech and text."""

from cab.registry import register_task
from cab.tasks.speech.tts_transformer import QUICK, SMOKE, TransformerTts


@register_task(
    name="tts-transformer-cross",
    domain="speech",
    pattern="cc",
    summary="synthesise three words, four mel frames per step, with attention to the text",
    backbone="Transformer-TTS",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="up to 36 queries of four frames, 6 keys",
    source="generated speech, see `_voice.py`; the task is CAB's, with Transformer-TTS (Li et al.,"
    " 2019, arXiv 1809.08895); log mel of 40 bands every 12.5 ms",
    licence="generated",
    diagnostic=("quick",),
)
class TtsTransformerCross(TransformerTts):
    """The variant is the decoder's cross-attention to the text."""

    recipes = {"smoke": SMOKE, "quick": QUICK}  # noqa: RUF012
