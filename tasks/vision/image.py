"""Classify a small grey image, pixel by pixel."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.classifier import Classifier, ClassifierConfig
from cab.backbones.slots import Slots, Width
from cab.data import decode_image, divide, load_part
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose


@dataclass(frozen=True)
class Scan:
    """Pictures of `side` x `side` pixels in raster order, a pixel one of 256 tokens."""

    side: int = 32


def _recipe(width: Width, training: Training, valid: int, test: int) -> Recipe:
    scan = Scan()
    model = ClassifierConfig(
        width, classes=10, length=scan.side**2, vocabulary=256, grid=(scan.side, scan.side)
    )
    return Recipe(scan, model, training, valid, test)


def read_grey(table: Any) -> tuple[Tensor, Tensor]:
    """Return the pixels (K, N) from 0 to 255 and labels (K,) of a published table."""
    pictures = np.stack([decode_image(row["img"], "L").reshape(-1) for row in table])
    return torch.from_numpy(pictures), torch.tensor(table[:]["label"])


@register_task(
    name="image",
    domain="vision",
    pattern="ns",
    summary="classify a grey image of 32 x 32 pixels into ten classes, pixel by pixel",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="1,024 pixels",
    data=("cifar10",),
    imports=("datasets",),
    grid=True,
    source="CIFAR-10 (Krizhevsky, 2009) in grey, the image task of Long Range Arena (Tay et al., "
    "2020, arXiv 2011.04006), without augmentation; a learned vector per row and column instead "
    "of one per pixel. Tested on small files of the same format only, not on the real set",
    licence="none stated",
)
class Image(Task):
    """A tenth of the training images is for validation; images of the test set are left out."""

    recipes = {  # noqa: RUF012
        "standard": _recipe(
            Width(dim=128, heads=4, layers=4, expansion=2, dropout=0.1),
            Training(35_000, 64, 1e-3, weight_decay=0.01),
            valid=2000,
            test=10_000,
        ),
        "full": _recipe(
            Width(dim=256, heads=8, layers=6, expansion=4, dropout=0.1),
            Training(180_000, 50, 1e-3, weight_decay=0.05),
            valid=4000,
            test=10_000,
        ),
    }

    @cached_property
    def _pictures(self) -> dict[Split, tuple[Tensor, Tensor]]:
        directory = self.data_dir
        assert directory is not None
        pictures, labels = read_grey(load_part("cifar10", directory, "train"))
        test = read_grey(load_part("cifar10", directory, "test"))
        rows = (picture.numpy().tobytes() for picture in pictures)
        train, valid = divide(rows, (picture.numpy().tobytes() for picture in test[0]))
        return {
            "train": (pictures[train], labels[train]),
            "valid": (pictures[valid], labels[valid]),
            "test": test,
        }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw random images for training; validation and test use them in order."""
        pictures, labels = self._pictures[split]
        which = choose(count, len(pictures), generator)
        if split != "train":
            which = torch.arange(count) % len(pictures)
        return {"inputs": pictures[which].long(), "targets": labels[which]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the classifier."""
        return Classifier(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each image was classified correctly."""
        return {"accuracy": (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()}
