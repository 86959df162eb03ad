"""Sentences frame by frame: the Transformer-TTS task of the CAB paper, in three patterns."""

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.backbones.speech_transformer import SpeechTransformerConfig
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.speech._ljspeech import BANDS, SYMBOLS, TTS_TRAINING, Sentences, corpus
from cab.tasks.speech._transformer_tts import TransformerTts


def _recipe(width: Width, training: Training, examples: int, evaluations: int = 2) -> Recipe:
    sentences = Sentences(characters=200, frames=880, frames_per_step=4)
    model = SpeechTransformerConfig(
        width,
        symbols=SYMBOLS,
        bands=BANDS,
        frames_per_step=sentences.frames_per_step,
        source_length=sentences.characters,
        target_length=sentences.frames // sentences.frames_per_step,
    )
    return Recipe(
        sentences,
        model,
        training,
        examples // 2,
        examples,
        evaluation_batch=32,
        evaluations=evaluations,
    )


RECIPES = {
    "standard": _recipe(
        Width(dim=256, heads=4, layers=4, expansion=4, dropout=0.1),
        Training(20_000, 24, 5e-4),
        200,
    ),
    "full": _recipe(
        Width(dim=512, heads=4, layers=6, expansion=4, dropout=0.1), TTS_TRAINING, 500, 10
    ),
}


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
