"""Few-shot recognition: name a handwritten digit by the labels that this sequence gave."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.frame_reader import FrameReader, FrameReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import LabelledTask
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, reading, standard
from cab.tasks.vision._images import CLASSES as DIGITS
from cab.tasks.vision._images import SIDE, images_of

PIXELS, CLASSES = SIDE * SIDE, 2 * DIGITS
FEATURES = PIXELS + CLASSES
"""The numbers of a token: the pixels of an image, or which label it is.

A class is a digit, dark on light or light on dark.
"""


@dataclass(frozen=True)
class Episode:
    """`classes` of images, `shots` labelled images of each, then one image of each to name.

    There are as many labels as classes in all.
    """

    classes: int
    shots: int

    def __post_init__(self) -> None:
        if not 0 < self.classes <= CLASSES or self.shots < 1:
            raise ValueError(f"few-shot needs 1 to {CLASSES} classes and at least one shot")

    @property
    def length(self) -> int:
        """Tokens per sequence."""
        return self.classes * (2 * self.shots + 1)


def _recipe(
    levels: tuple[Episode, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = FrameReaderConfig(
        width, features=FEATURES, outputs=CLASSES, length=top.length, causal=True
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="few-shot",
    domain="vision",
    pattern="cs",
    summary="name images of 20 classes by the labels that the sequence gave to 60 others",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.05,
    version=4,
    length="10 to 140 tokens: images and labels",
    imports=("sklearn.datasets",),
    source="one-shot recognition as in One-shot Learning with Memory-Augmented Neural Networks "
    "(Santoro et al., 2016, arXiv 1605.06065), on scikit-learn's digits: Optical Recognition of "
    "Handwritten Digits (Alpaydin, Kaynak, 1998), which installs with scikit-learn",
    licence="CC BY 4.0",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.12,
            "seeds": 3,
            "measured": {
                "mean": 0.216,
                "none": 0.169,
                "softmax": 0.969,
                "window": 0.671,
                "last label": 0.218,
            },
            "floors": (0.5089, 0.25, 0.1667, 0.125, 0.0546),
        },
        "standard": {"margin": 0.12, "seeds": 3},
    },
)
class FewShot(LabelledTask):
    """Images, each followed by its class's label, then other images of these classes to name.

    A class is a digit as it is, or with light and dark exchanged. Which label a class has is drawn
    for each sequence, so it can only be found at another image of the class before. A token is an
    image or a label. The levels are the numbers of classes and of labelled images of each. No
    image is in two splits. There is one layer, for the reason given at `recall-latest`.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (Episode(1, shots=1), Episode(2, shots=1)),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 8, 4e-3),
            20,
        ),
        "quick": _recipe(
            tuple(
                Episode(classes, shots)
                for classes, shots in ((2, 2), (4, 3), (6, 4), (8, 5), (20, 3))
            ),
            Width(dim=64, heads=4, layers=1, short_convolution=3),
            Training(2500, 24, 3e-3),
            150,
            rates=(1.5e-3, 3e-3, 6e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Episode(classes, shots)
                    for classes, shots in ((2, 2), (6, 4), (10, 8), (20, 6), (20, 12))
                ),
                reading(DEEP),
                replace(TRAINING, steps=20_000),
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw classes, their labels, and images of a split."""
        params: Episode = self.recipe.data
        classes, labels = (
            torch.rand(count, CLASSES, generator=generator).argsort(dim=1)[:, : params.classes]
            for _ in range(2)
        )
        shown = params.classes * params.shots
        order = torch.rand(count, shown, generator=generator).argsort(dim=1) % params.classes
        asked = torch.rand(count, params.classes, generator=generator).argsort(dim=1)
        kinds = classes.gather(1, torch.cat((order, asked), dim=1))
        images = images_of(kinds % DIGITS, split, generator)
        images = torch.where((kinds < DIGITS)[..., None, None], images, 1 - images)
        pixels = F.pad(images.flatten(2), (0, CLASSES))
        named = F.pad(F.one_hot(labels.gather(1, order), CLASSES).float(), (PIXELS, 0))
        support = torch.stack((pixels[:, :shown], named), dim=2).flatten(1, 2)
        inputs = torch.cat((support, pixels[:, shown:]), dim=1)
        targets = torch.full(inputs.shape[:2], IGNORED)
        targets[:, -params.classes :] = labels.gather(1, asked)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the causal frame reader."""
        return FrameReader(self.recipe.model, slots)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each position (B, N, V)."""
        padding = torch.zeros_like(batch["targets"], dtype=torch.bool)
        return model(batch["inputs"], padding)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the last given label as every answer."""
        params: Episode = self.recipe.data
        given = 2 * params.classes * params.shots
        last = batch["inputs"][:, given - 1, PIXELS:].argmax(dim=-1, keepdim=True)
        return {"last label": self.score(last, batch)}
