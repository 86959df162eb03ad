"""Upscale faces from 16 x 16 to 128 x 128 pixels by diffusion: the SR task of the CAB paper."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.backbones.unet import UNetConfig
from cab.data import HubSet, decode_image, load_part
from cab.registry import register_task
from cab.task import Split, Training, choose
from cab.tasks.vision._diffusion import Schedule
from cab.tasks.vision.super_resolution import Sharpen, Sharpening, recipe

VALIDATION = 1_000
"""How many of FFHQ's faces, the last, validate."""


@cache
def _faces(data_set: str | HubSet, directory: Path, part: str) -> Any:
    return load_part(data_set, directory, part)


def shrink(pixels: Tensor, side: int) -> Tensor:
    """Return pictures (h, w, 3) in bytes as (3, side, side) in [-1, 1], by the mean of pixels.

    Raises:
        ValueError: pictures that are not square, or not a whole number of times as wide.
    """
    height, width, _ = pixels.shape
    if height != width or height % side:
        raise ValueError(f"a face of {height} x {width} pixels cannot become {side} x {side}")
    scaled = pixels.permute(2, 0, 1).float() / 127.5 - 1
    return torch.nn.functional.avg_pool2d(scaled, height // side)


@register_task(
    name="super-resolution-faces",
    domain="vision",
    pattern="ns",
    summary="upscale faces from 16 x 16 to 128 x 128 pixels by diffusion",
    backbone="U-Net",
    metric="psnr",
    higher_is_better=True,
    version=1,
    length="256, 1,024, 4,096 and, in full, 16,384 pixels of a feature map",
    data=("ffhq", "celeba-hq"),
    imports=("datasets", "torchmetrics.functional.image"),
    source="FFHQ (Karras et al., 2019, arXiv 1812.04948) for training, hub merkol/ffhq-256, "
    "CelebA-HQ (Karras et al., 2018, arXiv 1710.10196) for testing, hub "
    "korexyz/celeba-hq-256x256; SR3 as in CAB (Saharia et al., 2021, arXiv 2104.07636), with "
    "attention at the same resolutions for every variant; not tested on the published files yet",
    licence="CC BY-NC-SA 4.0; for research",
    grid=True,
)
class SuperResolutionFaces(Sharpen):
    """In the CAB paper softmax had one resolution of attention fewer; here all are equal."""

    recipes = {  # noqa: RUF012
        "standard": recipe(
            Sharpening(side=128, factor=8, schedule=Schedule(200, 1e-5, 0.1)),
            UNetConfig(
                Width(dim=32, heads=4, layers=1, dropout=0.2), 128, 3, (1, 2, 4, 8, 8), (16, 32)
            ),
            Training(50_000, 8, 1e-4, weight_decay=0.0),
            200,
            evaluation_batch=16,
        ),
        "full": recipe(
            Sharpening(side=128, factor=8, schedule=Schedule(2_000, 1e-6, 0.01)),
            UNetConfig(
                Width(dim=64, heads=4, layers=2, dropout=0.2),
                128,
                3,
                (1, 2, 4, 8, 8),
                (16, 32, 64, 128),
            ),
            Training(1_000_000, 4, 1e-4, weight_decay=0.0, warmup=0.01),
            1_000,
            evaluation_batch=16,
        ),
    }

    def sharp(self, split: Split, count: int, generator: torch.Generator) -> Tensor:
        """Draw faces to train on; to validate and to test they are evenly spaced."""
        assert self.data_dir is not None
        name, part = ("celeba-hq", "validation") if split == "test" else ("ffhq", "train")
        faces = _faces(name, self.data_dir, part)
        first, last = 0, len(faces)
        if split == "train":
            last -= VALIDATION
        if split == "valid":
            first = last - VALIDATION
        place = first + choose(count, last - first, generator)
        if split != "train":
            place = torch.linspace(first, last - 1, count).long()
        pixels = [decode_image(faces[row]["image"]) for row in place.tolist()]
        side = self.recipe.data.side
        return torch.stack([shrink(torch.from_numpy(one.copy()), side) for one in pixels])
