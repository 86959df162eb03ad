"""Synthesise generated speech, frame by frame, with the variant in pattern cc."""

from cab.registry import register_task
from cab.tasks.speech._transformer_tts import RECIPES, TransformerTts


@register_task(
    name="tts-transformer-cc",
    domain="speech",
    pattern="cc",
    summary="synthesise three words, four mel frames per step (cross-attention of the decoder to "
    "the text)",
    backbone="Transformer-TTS",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="up to 36 queries of four frames, 6 keys",
    source="generated speech, see `_voice.py`; the task is CAB's, with Transformer-TTS (Li et "
    "al., 2019, arXiv 1809.08895); log mel of 40 bands every 12.5 ms",
    licence="generated",
    diagnostic=("quick",),
)
class TtsTransformerCc(TransformerTts):
    """The variant is the cross-attention of the decoder to the text."""

    recipes = RECIPES
