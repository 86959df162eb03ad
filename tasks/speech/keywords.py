"""Recognise a spoken word."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.classifier import Classifier, ClassifierConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.speech._recordings import WORDS_IN_ALL, Hearing, SpokenTask
from cab.tasks.speech._single import Window, pick_word, place


def recipe(window: Window, width: Width, training: Training, valid: int, test: int) -> Recipe:
    """Size the classifier for a window."""
    model = ClassifierConfig(
        width, classes=WORDS_IN_ALL, length=window.tokens, features=window.hearing.features
    )
    return Recipe(window, model, training, valid, test)


@register_task(
    name="keywords",
    domain="speech",
    pattern="ns",
    summary="recognise one of ten words of a synthetic voice, somewhere in 1.2 seconds",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="48 tokens of 25 ms",
    source="a seeded source-filter voice with the vowels of Peterson and Barney (1952); log mel "
    "of 40 bands every 12.5 ms, two frames a token. Five words are the other five backwards, so "
    "that the sounds without their order leave two candidates",
    licence="generated",
)
class Keywords(SpokenTask):
    """Test speakers are not in the training split; validation and test use every recording."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Window(24, Hearing(stack=4, longest=12)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 8, 3e-3),
            valid=20,
            test=20,
        ),
        "quick": recipe(
            Window(48, Hearing(stack=2, longest=24)),
            Width(dim=64, heads=4, layers=2),
            Training(800, 32, 2e-3),
            valid=200,
            test=400,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Place recordings of a split in windows."""
        recordings = self._recordings[split]
        chosen = pick_word(recordings, count, generator, in_turn=split != "train")
        inputs = place(recordings, chosen, self.recipe.data, generator)
        return {"inputs": inputs, "targets": recordings.words[chosen]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the classifier."""
        return Classifier(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each word was recognised."""
        return {"accuracy": (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()}
