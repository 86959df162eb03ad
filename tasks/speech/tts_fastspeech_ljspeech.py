"""Synthesise sentences, all frames at once: the FastSpeech 2 task of the CAB paper."""

import torch
from torch import Tensor

from cab.backbones.fast_speech import FastSpeechConfig
from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.speech._aligned import BANDS, SYMBOLS, Phonemes, aligned_corpus
from cab.tasks.speech._ljspeech import TTS_TRAINING
from cab.tasks.speech.tts_fastspeech import FastSpeechTts


def _recipe(width: Width, training: Training, examples: int, evaluations: int = 2) -> Recipe:
    params = Phonemes(phonemes=200, frames=880)
    model = FastSpeechConfig(
        width,
        symbols=SYMBOLS,
        bands=BANDS,
        source_length=params.phonemes,
        target_length=params.frames,
    )
    return Recipe(
        params,
        model,
        training,
        examples // 2,
        examples,
        evaluation_batch=32,
        evaluations=evaluations,
    )


@register_task(
    name="tts-fastspeech-ljspeech",
    domain="speech",
    pattern="ns",
    summary="synthesise sentences, all mel frames at once",
    backbone="FastSpeech 2",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="up to 200 phonemes, up to 880 frames",
    data=("ljspeech", "ljspeech-mfa"),
    imports=("datasets",),
    source="LJSpeech (Ito and Johnson, 2017), hub keithito/lj_speech, with the phonemes and "
    "durations of fairseq S2; FastSpeech 2 (Ren et al., 2021, arXiv 2006.04558) and its training "
    "by fairseq as in CAB (arXiv 2210.07661). Unlike there, pitch is found by YIN instead of "
    "WORLD, layers are pre-norm with learned positions, attention has no dropout, sentences are "
    "cut at 200 phonemes and 880 frames, and log mel frames (80 bands every 256 samples) are "
    "compared directly, without a vocoder; not tested on the published files yet",
    licence="public domain",
    suites={"cab": {"mcd": "FastSpeech 2 MCD", "msd": "FastSpeech 2 MSD"}},
    diagnostic=("standard", "full"),
)
class TtsFastspeechLjspeech(FastSpeechTts):
    """Trained with the recordings' durations, pitch and energy, tested with the predicted ones."""

    recipes = {  # noqa: RUF012
        "standard": _recipe(
            Width(dim=128, heads=2, layers=4, expansion=4, dropout=0.1),
            Training(20_000, 24, 5e-4),
            200,
        ),
        "full": _recipe(
            Width(dim=256, heads=2, layers=4, expansion=4, dropout=0.1), TTS_TRAINING, 500, 10
        ),
    }

    @property
    def moments(self) -> Tensor:
        """Means and standard deviations of the log mel bands in training: (2, bands)."""
        assert self.data_dir is not None
        return aligned_corpus(self.data_dir).moments

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw sentences to train on; to validate and to test they are evenly spaced."""
        assert self.data_dir is not None
        return aligned_corpus(self.data_dir).draw(self.recipe.data, split, count, generator)
