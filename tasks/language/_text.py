"""Film reviews, byte by byte: the text task of Long Range Arena."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.classifier import Classifier, ClassifierConfig
from cab.backbones.slots import Slots, Width
from cab.data import divide, load_part
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.language._bytes import VOCABULARY, byte_rows


@dataclass(frozen=True)
class Reviews:
    """The first `length` bytes of each review are read."""

    length: int


def recipe(length: int, width: Width, training: Training, **more: Any) -> Recipe:
    """Make a recipe: 2,000 reviews validate, all test; more is of the classifier."""
    evaluations = more.pop("evaluations", 2)
    model = ClassifierConfig(width, classes=2, length=length, vocabulary=VOCABULARY, **more)
    return Recipe(Reviews(length), model, training, 2_000, 25_000, evaluations=evaluations)


class Text(Task):
    """Reviews of both published parts are left out of training; all test reviews are kept."""

    @cached_property
    def _reviews(self) -> dict[Split, tuple[Tensor, Tensor]]:
        assert self.data_dir is not None
        parts = {part: load_part("imdb", self.data_dir, part)[:] for part in ("train", "test")}
        contents = {part: [text.encode() for text in one["text"]] for part, one in parts.items()}
        train, valid = divide(contents["train"], contents["test"])
        rows = {
            part: byte_rows(one["text"], self.recipe.data.length) for part, one in parts.items()
        }
        labels = {part: torch.tensor(one["label"]) for part, one in parts.items()}
        return {
            "train": (rows["train"][train], labels["train"][train]),
            "valid": (rows["train"][valid], labels["train"][valid]),
            "test": (rows["test"], labels["test"]),
        }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw random reviews for training; validation and test use a fixed order."""
        rows, labels = self._reviews[split]
        if split == "train":
            which = choose(count, len(rows), generator)
        else:  # published in the order of their answers
            which = torch.randperm(len(rows), generator=generator)[torch.arange(count) % len(rows)]
        return {"inputs": rows[which].long(), "targets": labels[which]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the classifier."""
        return Classifier(self.recipe.model, slots)

    def _answers(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["inputs"], batch["inputs"] == 0)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(self._answers(model, batch), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each review was classified correctly."""
        right = self._answers(model, batch).argmax(dim=-1) == batch["targets"]
        return {"accuracy": right.float()}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of always answering `positive`."""
        return {"for": batch["targets"].float()}

    def tokens(self, batch: Batch) -> int:
        """Count the bytes, padding left out."""
        return int((batch["inputs"] != 0).sum())
