"""Upscale handwritten digits by diffusion: the SR task of the CAB paper at a small size."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.slots import Slots, Width
from cab.backbones.unet import UNet, UNetConfig
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.vision._diffusion import Schedule, add_noise, denoise, draw_levels
from cab.tasks.vision._images import SIDE, digit_images, paste


@dataclass(frozen=True)
class Sharpening:
    """Pictures of side x side pixels, `factor` times fewer of them in a row when blurred."""

    side: int
    factor: int
    schedule: Schedule


def recipe(
    params: Sharpening, model: UNetConfig, training: Training, examples: int, **more: Any
) -> Recipe:
    """Make a recipe; validation takes a quarter of the test's examples."""
    return Recipe(params, model, training, examples // 4, examples, **more)


class Sharpen(Task):
    """SR3 (Saharia et al., 2021, arXiv 2104.07636): noise becomes the sharp picture, in steps.

    The model sees the blurred picture, enlarged with cubic splines, beside the noisy one.
    Pictures are in [-1, 1] in training, in [0, 1] where they are compared.
    """

    def sharp(self, split: Split, count: int, generator: torch.Generator) -> Tensor:
        """Draw sharp pictures in [-1, 1]: (count, channels, side, side)."""
        raise NotImplementedError

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw pictures, blur them by the mean of each factor x factor, and draw noise to add."""
        params: Sharpening = self.recipe.data
        sharp = self.sharp(split, count, generator)
        few = F.avg_pool2d(sharp, params.factor)
        size = (params.side, params.side)
        return {
            "inputs": F.interpolate(few, size, mode="bicubic", align_corners=False),
            "targets": sharp,
            "noise": torch.randn(sharp.shape, generator=generator),
            "level": draw_levels(params.schedule, count, generator),
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the U-Net."""
        return UNet(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean absolute error of the predicted noise."""
        noisy = add_noise(batch["targets"], batch["noise"], batch["level"])
        return F.l1_loss(model(batch["inputs"], noisy, batch["level"]), batch["noise"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the signal-to-noise ratio and the structural similarity of each picture.

        The noise of the walk back is the same for every model and every batch of examples.
        """
        steps = seeded(self.card.name, self.card.version, "denoise")
        blurred = batch["inputs"]
        found = denoise(
            lambda noisy, level: model(blurred, noisy, level),
            batch["noise"],
            self.recipe.data.schedule,
            steps,
        )
        return compare(found, batch["targets"])

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ratio that cubic splines reach."""
        return {"bicubic": compare(batch["inputs"], batch["targets"])["psnr"]}

    def tokens(self, batch: Batch) -> int:
        """Count the pixels."""
        return batch["inputs"].shape[0] * batch["inputs"].shape[2] * batch["inputs"].shape[3]


def compare(found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Return PSNR in decibels and SSIM of pictures in [-1, 1], as torchmetrics defines them."""
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    found, true = ((pictures.clamp(-1, 1) + 1) / 2 for pictures in (found, true))
    ratio = peak_signal_noise_ratio(found, true, data_range=1.0, reduction="none", dim=(1, 2, 3))
    similarity = structural_similarity_index_measure(found, true, data_range=1.0, reduction="none")
    return {"psnr": ratio, "ssim": similarity}


@register_task(
    name="super-resolution",
    domain="vision",
    pattern="ns",
    summary="upscale handwritten digits from 8 x 8 to 16 x 16 pixels by diffusion",
    backbone="U-Net",
    metric="psnr",
    higher_is_better=True,
    version=1,
    length="64 pixels of a feature map",
    imports=("sklearn.datasets", "torchmetrics.functional.image"),
    source="scikit-learn's digits: Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, "
    "1998), which installs with scikit-learn; the task is SR3's (Saharia et al., 2021, arXiv "
    "2104.07636)",
    licence="CC BY 4.0",
    grid=True,
    diagnostic=("quick",),
)
class SuperResolution(Sharpen):
    """A digit anywhere on a canvas of 16 x 16 pixels; the published data has a task of its own."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Sharpening(side=16, factor=2, schedule=Schedule(5, 0.1, 0.9)),
            UNetConfig(Width(dim=8, heads=2, layers=1), 16, 1, (1, 2), (8,), groups=4),
            Training(4, 8, 1e-3),
            20,
        ),
        "quick": recipe(
            Sharpening(side=16, factor=2, schedule=Schedule(20, 1e-3, 0.7)),
            UNetConfig(Width(dim=16, heads=2, layers=1), 16, 1, (1, 2), (8,), groups=4),
            Training(1200, 16, 3e-3),
            100,
        ),
    }

    def sharp(self, split: Split, count: int, generator: torch.Generator) -> Tensor:
        """Place an image of the split anywhere on each canvas."""
        images, side = digit_images()[split][0], self.recipe.data.side
        chosen = images[choose(count, len(images), generator)]
        row, column = (choose(count, side - SIDE + 1, generator) for _ in range(2))
        return 2 * paste(chosen[:, None], row[:, None], column[:, None], (side, side))[:, None] - 1
