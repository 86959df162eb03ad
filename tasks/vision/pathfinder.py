"""Decide whether two discs lie on the same dashed path."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.classifier import Classifier, ClassifierConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._pathfinder import Paths, draw_pictures

DISC = 200
"""Brighter are pixels of discs alone."""

EASY = Paths(
    side=32,
    dashes=6,
    dash=2.0,
    gap=2.0,
    thick=0.8,
    clear=2.6,
    near=7.0,
    disc=1.5,
    alike=2.0,
    distractors=3,
    distractor_dashes=3,
)
HARD = Paths(
    side=32,
    dashes=14,
    dash=2.0,
    gap=1.5,
    thick=0.8,
    clear=2.0,
    near=6.0,
    disc=1.5,
    alike=2.0,
    distractors=5,
    distractor_dashes=4,
)
"""The number of dashes of the published "hard" set, which is the one that is reported."""


@dataclass(frozen=True)
class Pictures:
    """How pictures are drawn and cut: into `patch` x `patch` pixels; 1 makes a pixel a token.

    `training` different pictures are trained on.
    """

    paths: Paths
    patch: int
    training: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.paths.side // self.patch, self.paths.side // self.patch


def recipe(
    pictures: Pictures, width: Width, training: Training, examples: int, evaluations: int = 2
) -> Recipe:
    """Size the classifier: a pixel is one of 256 tokens, a patch a frame of numbers."""
    rows, columns = pictures.grid
    pixels = pictures.patch == 1
    model = ClassifierConfig(
        width,
        classes=2,
        length=rows * columns,
        vocabulary=256 if pixels else 0,
        features=0 if pixels else pictures.patch**2,
        grid=pictures.grid,
    )
    return Recipe(pictures, model, training, examples, examples, evaluations=evaluations)


@cache
def training_pictures(paths: Paths, count: int) -> tuple[Tensor, Tensor]:
    """Return the pictures that are trained on, and their answers."""
    return draw_pictures(paths, count, seeded("pathfinder", "train", count))


@register_task(
    name="pathfinder",
    domain="vision",
    pattern="ns",
    summary="decide whether two discs on a 32 x 32 image lie on the same dashed path",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="64 patches of 4 x 4 pixels",
    grid=True,
    source="Pathfinder (Linsley et al., 2018, arXiv 1805.08315) in the size of Long Range Arena "
    "(Tay et al., 2020, arXiv 2011.04006), with another generator: paths begin anywhere instead "
    "of at the centre, answers are drawn with equal chances, and the distance of the discs does "
    "not depend on the answer; six dashes per path in quick, fourteen and one token per pixel in "
    "standard and full",
    licence="generated",
)
class Pathfinder(Task):
    """Training repeats a fixed set of images; validation and test images are drawn separately."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Pictures(EASY, patch=8, training=64),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": recipe(
            Pictures(EASY, patch=4, training=10_000),
            Width(dim=64, heads=4, layers=3),
            Training(1500, 64, 2e-3),
            500,
        ),
        "standard": recipe(
            Pictures(HARD, patch=1, training=160_000),
            Width(dim=128, heads=8, layers=4),
            Training(62_500, 128, 1e-3, weight_decay=0.0),
            2000,
        ),
        "full": recipe(
            Pictures(HARD, patch=1, training=160_000),
            Width(dim=256, heads=8, layers=6),
            Training(250_000, 128, 5e-4, weight_decay=0.05),
            20_000,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Choose from the training pictures, or draw new ones to validate and test on."""
        data: Pictures = self.recipe.data
        if split == "train":
            pictures, answers = training_pictures(data.paths, data.training)
            which = choose(count, data.training, generator)
            pictures, answers = pictures[which], answers[which]
        else:
            pictures, answers = draw_pictures(data.paths, count, generator)
        if data.patch == 1:
            return {"inputs": pictures.flatten(1).long(), "targets": answers}
        light = pictures[:, None].float() / 255
        return {
            "inputs": F.unfold(light, data.patch, stride=data.patch).mT,
            "targets": answers,
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the classifier."""
        return Classifier(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each image was classified correctly."""
        return {"accuracy": (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()}

    def pictures(self, inputs: Tensor) -> Tensor:
        """Put tokens together again: (B, side, side), from 0 to 255."""
        data: Pictures = self.recipe.data
        side = data.paths.side
        if data.patch == 1:
            return inputs.view(-1, side, side)
        light = F.fold(inputs.mT, side, data.patch, stride=data.patch)
        return (light.squeeze(1) * 255).round().long()

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scores of `yes`, and of `yes` if the discs are nearer than the median."""
        distances = torch.stack([_spread(one) for one in self.pictures(batch["inputs"])])
        near = distances < distances.median()
        right = batch["targets"] == 1
        return {"yes": right.float(), "near discs": (near == right).float()}


def _spread(picture: Tensor) -> Tensor:
    """The largest distance between two pixels of discs."""
    bright = (picture > DISC).nonzero().float()
    return torch.cdist(bright, bright).max()
