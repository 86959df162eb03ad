"""Evaluate nested list operations, balanced so that the first operators do not give the answer."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.classifier import Classifier, ClassifierConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training
from cab.tasks.long_range._listops import DIGITS, PADDING, VOCABULARY, Shape, draw, guess


def recipe(
    shape: Shape,
    width: Width,
    training: Training,
    examples: int,
    pool: Literal["first", "cls", "mean"] = "first",
    evaluations: int = 2,
) -> Recipe:
    """Size the classifier, which reads the answer at the root operator, for a shape."""
    model = ClassifierConfig(
        width, classes=DIGITS, length=shape.longest, vocabulary=VOCABULARY, pool=pool
    )
    return Recipe(shape, model, training, examples, examples, evaluations=evaluations)


@register_task(
    name="listops",
    domain="long_range",
    pattern="ns",
    summary="evaluate nested MIN, MAX, MED and sums modulo 10, without shortcuts to the answer",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="up to 24 tokens",
    source="ListOps (Nangia and Bowman, 2018, arXiv 1804.06028) as in Long Range Arena (Tay et "
    "al., 2020, arXiv 2011.04006), with another distribution: answers are uniform for each root "
    "operator, all operands of a root are expressions, and in standard and full the answer "
    "depends on four levels. The most likely class, the root operator, and the root with its "
    "operands' operators score 0.10 here, but 0.17, 0.37 and 0.60 in Long Range Arena "
    "(`listops-lra`)",
    licence="generated",
)
class ListOps(Task):
    """The content of an expression decides its split, so that no two splits share one."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Shape(depth=3, arguments=2, shortest=10, longest=16, span=2),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": recipe(
            Shape(depth=3, arguments=3, shortest=12, longest=24, span=2),
            Width(dim=64, heads=4, layers=3, short_convolution=3),
            Training(800, 64, 4e-3),
            500,
        ),
        "standard": recipe(
            Shape(depth=6, arguments=10, shortest=500, longest=2000, span=3),
            Width(dim=256, heads=8, layers=4, expansion=4, dropout=0.1),
            Training(20_000, 32, 5e-4, weight_decay=0.1),
            2000,
        ),
        "full": recipe(
            Shape(depth=6, arguments=10, shortest=500, longest=2000, span=3),
            Width(dim=512, heads=8, layers=6, expansion=2, dropout=0.1),
            Training(60_000, 32, 5e-4, weight_decay=0.1),
            2000,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate expressions of a split."""
        inputs, targets = draw(self.recipe.data, split, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the classifier."""
        return Classifier(self.recipe.model, slots)

    def _answers(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["inputs"], batch["inputs"] == PADDING)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy of the answer."""
        return F.cross_entropy(self._answers(model, batch), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each expression was solved."""
        right = self._answers(model, batch).argmax(dim=-1) == batch["targets"]
        return {"accuracy": right.float()}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scores of the most likely answer and of the upper levels alone."""
        answers = {"majority": torch.zeros_like(batch["targets"])}
        for depth, name in enumerate(("root operator", "depth one", "depth two")):
            told = [guess(row, depth) for row in batch["inputs"].tolist()]
            answers[name] = torch.tensor(told)
        return {name: (one == batch["targets"]).float() for name, one in answers.items()}

    def tokens(self, batch: Batch) -> int:
        """Count the tokens, padding left out."""
        return int((batch["inputs"] != PADDING).sum())
