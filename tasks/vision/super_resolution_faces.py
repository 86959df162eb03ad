"""Upscale faces from 16 x 16 to 128 x 128 pixels by diffusion: the SR task of the CAB paper."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.backbones.unet import UNetConfig
from cab.data import HubSet, decode_image, load_part
from cab.registry import register_task
from cab.task import Batch, PublishedTraining, Split, Training, choose
from cab.tasks.vision._diffusion import Schedule, draw_levels
from cab.tasks.vision.super_resolution import Sharpen, Sharpening, recipe

VALIDATION = 1_000
"""How many of FFHQ's faces, the last, validate."""


@cache
def _faces(data_set: str | HubSet, directory: Path, part: str) -> Any:
    return load_part(data_set, directory, part)


def shrink(pixels: Any, side: int, factor: int) -> tuple[Any, Any]:
    """Return a square picture at `side` x `side`, and its 1/factor enlarged to that, in bytes.

    Both are resized with cubic splines of the published file, as SR3's data are prepared.

    Raises:
        ValueError: the picture is not square.
    """
    from PIL import Image

    height, width, _ = pixels.shape
    if height != width:
        raise ValueError(f"a face has {height} x {width} pixels, but must be square")
    picture, spline = Image.fromarray(pixels), Image.Resampling.BICUBIC
    few = picture.resize((side // factor, side // factor), spline)
    return np.array(picture.resize((side, side), spline)), np.array(
        few.resize((side, side), spline)
    )


@register_task(
    name="super-resolution-faces",
    domain="vision",
    pattern="ns",
    summary="upscale faces from 16 x 16 to 128 x 128 pixels by diffusion",
    backbone="U-Net",
    metric="psnr",
    higher_is_better=True,
    version=2,
    length="256, 1,024, 4,096 and, in full, 16,384 pixels of a feature map",
    data=("ffhq", "celeba-hq"),
    imports=("datasets", "PIL.Image", "torchmetrics.functional.image"),
    source="FFHQ (Karras et al., 2019, arXiv 1812.04948) for training, hub merkol/ffhq-256, "
    "CelebA-HQ (Karras et al., 2018, arXiv 1710.10196) for testing, hub "
    "korexyz/celeba-hq-256x256; SR3 (Saharia et al., 2021, arXiv 2104.07636), its training and "
    "the mean of the last five checkpoints as in CAB (arXiv 2210.07661), on 100 faces. Unlike "
    "there, attention is at the same resolutions for every variant, FFHQ is shrunk from 256 x 256 "
    "instead of 1,024 x 1,024, and the faces tested are spread over 2,000; not tested on the "
    "published files yet",
    licence="CC BY-NC-SA 4.0; for research",
    grid=True,
    suites={"cab": {"psnr": "PSNR", "ssim": "SSIM"}},
    diagnostic=("standard", "full"),
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
            PublishedTraining(
                1_000_000, 4, 1e-4, weight_decay=0.0, warmup=0.0, gradient_clip=0.0, keep="mean"
            ),
            100,
            evaluation_batch=16,
            evaluations=20,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw faces, each or its mirror image, to train on; otherwise they are evenly spaced."""
        assert self.data_dir is not None
        name, part = ("celeba-hq", "validation") if split == "test" else ("ffhq", "train")
        faces, params = _faces(name, self.data_dir, part), self.recipe.data
        first, last = 0, len(faces)
        if split == "train":
            last -= VALIDATION
        if split == "valid":
            first = last - VALIDATION
        place = first + choose(count, last - first, generator)
        if split != "train":
            place = torch.linspace(first, last - 1, count).long()
        pairs = [
            shrink(decode_image(faces[row]["image"]), params.side, params.factor)
            for row in place.tolist()
        ]
        sharp, blurred = (_scaled(pictures) for pictures in zip(*pairs, strict=True))
        if split == "train":
            mirrored = (torch.rand(count, generator=generator) < 0.5)[:, None, None, None]
            sharp = torch.where(mirrored, sharp.flip(3), sharp)
            blurred = torch.where(mirrored, blurred.flip(3), blurred)
        return {
            "inputs": blurred,
            "targets": sharp,
            "noise": torch.randn(sharp.shape, generator=generator),
            "level": draw_levels(params.schedule, count, generator),
        }


def _scaled(pictures: Any) -> Tensor:
    """Return pictures of bytes (h, w, 3) as (B, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
