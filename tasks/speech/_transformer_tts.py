"""Speech frame by frame: the Transformer-TTS task of the CAB paper, on generated speech."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.slots import Slots, Width
from cab.backbones.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from cab.errors import Unsupported
from cab.task import Batch, Recipe, Training
from cab.tasks.speech._recordings import BANDS
from cab.tasks.speech._synthesis import Synthesis
from cab.tasks.speech._utterances import SYMBOLS, Utterances

STOP_WEIGHT = 5.0
"""One step in many is the last: its error counts so often, as in CAB's recipe."""


def _recipe(
    params: Utterances, width: Width, training: Training, examples: int, **more: Any
) -> Recipe:
    model = SpeechTransformerConfig(
        width,
        symbols=SYMBOLS,
        bands=BANDS,
        frames_per_step=params.frames_per_step,
        source_length=2 * params.words,
        target_length=params.frames // params.frames_per_step,
        **more,
    )
    return Recipe(params, model, training, examples // 2, examples)


RECIPES = {
    "smoke": _recipe(
        Utterances(2, frames_per_step=4),
        Width(dim=16, heads=2, layers=1),
        Training(4, 4, 1e-3),
        10,
        prenet=16,
    ),
    "quick": _recipe(
        Utterances(3, frames_per_step=4),
        Width(dim=64, heads=4, layers=2),
        Training(900, 16, 2e-3),
        100,
        prenet=32,
    ),
}


class TransformerTts(Synthesis):
    """Trained with recorded frames as input of each step, tested with its own frames."""

    def build(self, slots: Slots) -> nn.Module:
        """Build the synthesiser."""
        return SpeechTransformer(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the errors of the frames before and after the post-net, and of stopping.

        Of frames it is the absolute and the squared error; of stopping, the binary cross-entropy.
        """
        frames, each = batch["targets"], self.recipe.model.frames_per_step
        said = model(batch["inputs"], batch["inputs"] == 0, frames)
        present = torch.arange(frames.shape[1], device=frames.device) < batch["lengths"][:, None]
        last = (batch["lengths"] - 1) // each
        steps = torch.arange(said.stop.shape[1], device=frames.device)
        counts = steps <= last[:, None]
        loss = F.binary_cross_entropy_with_logits(
            said.stop[counts],
            (steps == last[:, None])[counts].to(said.stop),
            pos_weight=said.stop.new_tensor(STOP_WEIGHT),
        )
        for ours in (said.coarse[present], said.frames[present]):
            loss = loss + F.l1_loss(ours, frames[present]) + F.mse_loss(ours, frames[present])
        return loss

    def loss_terms(self, batch: Batch) -> int:
        """Refuse: the loss is a sum of means over different counts, which cannot be merged."""
        raise Unsupported(
            f"The loss of {self.card.name} cannot be split over processes; omit --processes."
        )

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the distortions of the speech until the model stops."""
        assert isinstance(model, SpeechTransformer)
        frames, lengths = model.generate(batch["inputs"], batch["inputs"] == 0)
        return self.compare(frames, lengths, batch)
