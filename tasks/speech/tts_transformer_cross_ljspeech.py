"""Synthesise sentences, frame by frame, with the variant between speech and text."""

from cab.registry import register_task
from cab.tasks.speech.tts_transformer_ljspeech import FULL, STANDARD, LjspeechTts


@register_task(
    name="tts-transformer-cross-ljspeech",
    domain="speech",
    pattern="cc",
    summary="synthesise sentences, four mel frames per step, with attention to the text",
    backbone="Transformer-TTS",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="up to 220 queries of four frames, up to 200 keys",
    data=("ljspeech",),
    imports=("datasets",),
    source="LJSpeech (Ito and Johnson, 2017), hub keithito/lj_speech; Transformer-TTS as in CAB "
    "(Li et al., 2019, arXiv 1809.08895); log mel of 80 bands every 256 samples, no vocoder; not "
    "tested on the published files yet",
    licence="public domain",
)
class TtsTransformerCrossLjspeech(LjspeechTts):
    """The variant is the decoder's cross-attention to the text."""

    recipes = {"standard": STANDARD, "full": FULL}  # noqa: RUF012
