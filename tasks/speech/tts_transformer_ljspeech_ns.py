"""Synthesise sentences, frame by frame: CAB's Transformer-TTS; under test is the encoder."""

from cab.registry import register_task
from cab.tasks.speech._transformer_ljspeech import RECIPES, LjspeechTts


@register_task(
    name="tts-transformer-ljspeech-ns",
    domain="speech",
    pattern="ns",
    summary="synthesise sentences, four mel frames per step (self-attention of the encoder, over "
    "symbols)",
    backbone="Transformer-TTS",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="up to 200 symbols, in a network for 220 steps",
    data=("ljspeech",),
    imports=("datasets",),
    source="LJSpeech (Ito and Johnson, 2017), hub keithito/lj_speech; Transformer-TTS (Li et "
    "al., 2019, arXiv 1809.08895) and its training by fairseq as in CAB (arXiv 2210.07661). "
    "Unlike there, the text is in characters instead of phonemes, norms are layer norms, "
    "attention has no dropout, sentences are cut at 200 characters and 880 frames, and log mel "
    "frames (80 bands every 256 samples) are compared directly, without a vocoder; not tested on "
    "the published files yet",
    licence="public domain",
    suites={"cab": {"mcd": "Transformer-TTS MCD", "msd": "Transformer-TTS MSD"}},
    diagnostic=("standard", "full"),
)
class TtsTransformerLjspeechNs(LjspeechTts):
    """The variant is the self-attention of the encoder, over symbols."""

    recipes = RECIPES
