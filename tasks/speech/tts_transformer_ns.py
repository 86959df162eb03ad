"""Synthesise generated speech, frame by frame, with the variant in pattern ns."""

from cab.registry import register_task
from cab.tasks.speech._transformer_tts import RECIPES, TransformerTts


@register_task(
    name="tts-transformer-ns",
    domain="speech",
    pattern="ns",
    summary="synthesise three words, four mel frames per step (self-attention of the encoder, "
    "over symbols)",
    backbone="Transformer-TTS",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="6 symbols, in a network for 36 steps",
    source="generated speech, see `_voice.py`; the task is CAB's, with Transformer-TTS (Li et "
    "al., 2019, arXiv 1809.08895); log mel of 40 bands every 12.5 ms",
    licence="generated",
    diagnostic=("quick",),
)
class TtsTransformerNs(TransformerTts):
    """The variant is the self-attention of the encoder, over symbols."""

    recipes = RECIPES
