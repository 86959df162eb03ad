"""Small grey images, pixel by pixel: the image task of Long Range Arena."""

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
from cab.task import Batch, Recipe, Split, Task, Training, choose


@dataclass(frozen=True)
class Scan:
    """Pictures of `side` x `side` pixels in raster order, a pixel one of 256 tokens."""

    side: int = 32


def recipe(width: Width, training: Training, *, grid: bool, valid: int, **more: Any) -> Recipe:
    """Make a recipe that tests on all images; more is of the classifier.

    With a grid there is a position vector per row and per column, otherwise one per pixel.
    """
    scan, evaluations = Scan(), more.pop("evaluations", 2)
    model = ClassifierConfig(
        width,
        classes=10,
        length=scan.side**2,
        vocabulary=256,
        grid=(scan.side, scan.side) if grid else None,
        **more,
    )
    return Recipe(scan, model, training, valid, 10_000, evaluations=evaluations)


def read_grey(table: Any) -> tuple[Tensor, Tensor]:
    """Return the pixels (K, N) from 0 to 255 and labels (K,) of a published table."""
    pictures = np.stack([decode_image(row["img"], "L").reshape(-1) for row in table])
    return torch.from_numpy(pictures), torch.tensor(table[:]["label"])


class Image(Task):
    """A tenth of the training images is for validation; images of the test set are left out."""

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
