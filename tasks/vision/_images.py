"""The handwritten digits that install with scikit-learn, divided once for every task on them."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.seeding import generator as seeded
from cab.task import IGNORED, Split

CLASSES = 10
"""The classes of digits, 0 to 9."""
SIDE = 8
"""Height and width of an image in pixels."""
CUTS: dict[Split, slice] = {
    "test": slice(0, 400),
    "valid": slice(400, 600),
    "train": slice(600, None),
}
"""Where the 1,797 images are cut, in a random order of their own."""


@cache
def digit_images() -> dict[Split, tuple[Tensor, Tensor]]:
    """Return images (K, 8, 8) in sixteenths from 0 to 1, and labels (K,); no image is in two."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=seeded("digits", "split"))
    images = torch.from_numpy(pixels).float().view(-1, SIDE, SIDE)[order] / 16
    targets = torch.from_numpy(labels).long()[order]
    return {split: (images[cut], targets[cut]) for split, cut in CUTS.items()}


def images_of(classes: Tensor, split: Split, generator: torch.Generator) -> Tensor:
    """Draw an image of each class: (*classes, 8, 8)."""
    images, targets = digit_images()[split]
    by_class, counts = targets.argsort(stable=True), targets.bincount(minlength=10)
    first = counts.cumsum(dim=0) - counts
    within = torch.rand(classes.shape, generator=generator) * counts[classes]
    return images[by_class[first[classes] + within.long()]]


def most_frequent_answer(targets: Tensor) -> Tensor:
    """Return what the most frequent label of each picture scores: (B, N) -> (B,)."""
    asked = targets != IGNORED
    counts = F.one_hot(targets.clamp(min=0), CLASSES) * asked[..., None]
    return counts.sum(dim=1).amax(dim=1) / asked.sum(dim=1)


def paste(images: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """Return empty canvases (B, *size) with images (B, K, 8, 8) at their corners (B, K)."""
    canvases = torch.zeros(len(images), *size)
    example = torch.arange(len(images)).view(-1, 1, 1, 1)
    within = torch.arange(SIDE)
    row, column = rows[..., None, None] + within[:, None], columns[..., None, None] + within
    canvases[example, row, column] = images
    return canvases
