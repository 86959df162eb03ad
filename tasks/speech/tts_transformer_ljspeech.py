"""Synthesise sentences, frame by frame: the Transformer-TTS task of the CAB paper."""

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.backbones.speech_transformer import SpeechTransformerConfig
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.speech._ljspeech import BANDS, SYMBOLS, Sentences, corpus
from cab.tasks.speech.tts_transformer import TransformerTts


def _recipe(width: Width, training: Training, examples: int) -> Recipe:
    sentences = Sentences(characters=200, frames=880, frames_per_step=4)
    model = SpeechTransformerConfig(
        width,
        symbols=SYMBOLS,
        bands=BANDS,
        frames_per_step=sentences.frames_per_step,
        source_length=sentences.characters,
        target_length=sentences.frames // sentences.frames_per_step,
    )
    return Recipe(sentences, model, training, examples // 2, examples, evaluation_batch=32)


STANDARD = _recipe(
    Width(dim=256, heads=4, layers=4, expansion=4, dropout=0.1), Training(20_000, 24, 5e-4), 200
)
FULL = _recipe(
    Width(dim=512, heads=4, layers=6, expansion=4, dropout=0.1),
    Training(200_000, 48, 5e-4, warmup=0.02, gradient_clip=5.0),
    500,
)


class LjspeechTts(TransformerTts):
    """LJSpeech with characters; the CAB paper uses phonemes, which need a dictionary."""

    @property
    def moments(self) -> Tensor:
        """Means and standard deviations of the log mel bands in training: (2, bands)."""
        assert self.data_dir is not None
        return corpus(self.data_dir).moments

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw sentences to train on; to validate and to test they are evenly spaced."""
        assert self.data_dir is not None
        return corpus(self.data_dir).draw(self.recipe.data, split, count, generator)


@register_task(
    name="tts-transformer-ljspeech",
    domain="speech",
    pattern="cs",
    summary="synthesise sentences, four mel frames per step",
    backbone="Transformer-TTS",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="up to 220 steps of four frames",
    data=("ljspeech",),
    imports=("datasets",),
    source="LJSpeech (Ito and Johnson, 2017), hub keithito/lj_speech; Transformer-TTS as in CAB "
    "(Li et al., 2019, arXiv 1809.08895); log mel of 80 bands every 256 samples, no vocoder; not "
    "tested on the published files yet",
    licence="public domain",
)
class TtsTransformerLjspeech(LjspeechTts):
    """The variant is the decoder's self-attention, over frames."""

    recipes = {"standard": STANDARD, "full": FULL}  # noqa: RUF012
