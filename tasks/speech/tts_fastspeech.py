"""Synthesise speech, all frames at once: the FastSpeech 2 task of the CAB paper."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.fast_speech import FastSpeech, FastSpeechConfig, Variances
from cab.backbones.slots import Slots, Width
from cab.errors import Unsupported
from cab.registry import register_task
from cab.task import Batch, Recipe, Training
from cab.tasks.speech._recordings import BANDS
from cab.tasks.speech._synthesis import Synthesis
from cab.tasks.speech._utterances import SYMBOLS, Utterances


def _recipe(
    params: Utterances, width: Width, training: Training, examples: int, **more: Any
) -> Recipe:
    model = FastSpeechConfig(
        width,
        symbols=SYMBOLS,
        bands=BANDS,
        source_length=2 * params.words,
        target_length=params.frames,
        **more,
    )
    return Recipe(params, model, training, examples // 2, examples)


class FastSpeechTts(Synthesis):
    """Trained with the recordings' durations, pitch and energy, tested with the predicted ones."""

    def build(self, slots: Slots) -> nn.Module:
        """Build the synthesiser."""
        return FastSpeech(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return FastSpeech 2's: absolute error of frames, squared errors of what is predicted."""
        written = batch["inputs"] != 0
        known = Variances(batch["durations"], batch["pitch"], batch["energy"])
        said = model(batch["inputs"], ~written, known)
        true = batch["targets"][:, : said.frames.shape[1]]
        loss = F.l1_loss(said.frames[~said.padding], true[~said.padding])
        predicted = (
            (said.log_durations, (1 + known.durations).log()),
            (said.pitch, known.pitch),
            (said.energy, known.energy),
        )
        for ours, wanted in predicted:
            loss = loss + F.mse_loss(ours[written], wanted[written])
        return loss

    def loss_terms(self, batch: Batch) -> int:
        """Refuse: the loss is a sum of means over different counts, which cannot be merged."""
        raise Unsupported(
            f"The loss of {self.card.name} cannot be split over processes; omit --processes."
        )

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the distortions of speech with the model's own durations, pitch and energy."""
        said = model(batch["inputs"], batch["inputs"] == 0)
        return self.compare(said.frames, (~said.padding).sum(dim=1), batch)


@register_task(
    name="tts-fastspeech",
    domain="speech",
    pattern="ns",
    summary="synthesise three words, all mel frames at once",
    backbone="FastSpeech 2",
    metric="mcd",
    higher_is_better=False,
    version=1,
    length="6 symbols, up to 144 frames",
    source="generated speech, see `_voice.py`; the task is CAB's, with FastSpeech 2 (Ren et al., "
    "2021, arXiv 2006.04558); log mel of 40 bands every 12.5 ms",
    licence="generated",
    diagnostic=("quick",),
)
class TtsFastspeech(FastSpeechTts):
    """The variant is all self-attention, of the encoder and of the decoder."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Utterances(2), Width(dim=16, heads=2, layers=1), Training(4, 4, 1e-3), 10, kernel=3
        ),
        "quick": _recipe(
            Utterances(3), Width(dim=64, heads=2, layers=2), Training(500, 16, 2e-3), 100, kernel=9
        ),
    }
