"""Predict masked bytes of real text."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder import Encoder, EncoderConfig
from cab.backbones.slots import Slots, Width
from cab.data import load_text
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose
from cab.tasks.language._masking import IGNORED, mask, nats

MASK = 256
"""The token that hides a byte."""


@dataclass(frozen=True)
class Windows:
    """Length of a window in bytes."""

    length: int


def _recipe(length: int, width: Width, training: Training, examples: int) -> Recipe:
    model = EncoderConfig(width, vocabulary=257, outputs=256, length=length)
    return Recipe(Windows(length), model, training, examples // 4, examples)


@register_task(
    name="mlm",
    domain="language",
    pattern="ns",
    summary="predict masked bytes of the plays of Shakespeare (bits per masked byte)",
    backbone="encoder",
    metric="bits_per_byte",
    higher_is_better=False,
    chance=8.0,
    version=1,
    length="128 bytes, 19 of them masked",
    data=("tinyshakespeare",),
    imports=("datasets",),
    source="tinyshakespeare (Karpathy, 2015); 15 % are masked, as in BERT (Devlin et al., 2019, "
    "arXiv 1810.04805)",
    licence="public domain",
    diagnostic=("quick",),
)
class Mlm(Task):
    """Windows of the text: 90 % for training, then 5 % for validation and 5 % for testing."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(32, Width(dim=16, heads=1, layers=1), Training(4, 8, 3e-3), 20),
        "quick": _recipe(
            128,
            Width(dim=96, heads=2, layers=2, expansion=4, short_convolution=5),
            Training(700, 16, 4e-3),
            400,
        ),
    }

    @cached_property
    def _text(self) -> dict[Split, Tensor]:
        assert self.data_dir is not None
        text = torch.frombuffer(
            bytearray(load_text("tinyshakespeare", self.data_dir)), dtype=torch.uint8
        )
        train, valid = int(len(text) * 0.9), int(len(text) * 0.95)
        return {"train": text[:train], "valid": text[train:valid], "test": text[valid:]}

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Cut random windows to train on; validation and test are cut in order. Then hide."""
        text, length = self._text[split], self.recipe.data.length
        starts = choose(count, len(text) - length + 1, generator)
        if split != "train":
            starts = torch.arange(count) * length
        windows = text[starts[:, None] + torch.arange(length)].long()
        shown, targets = mask(windows, 256, MASK, generator)
        return {"inputs": shown, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder."""
        return Encoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per byte asked for."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return bits per byte asked for, of each window."""
        return {"bits_per_byte": nats(model(batch["inputs"]), batch["targets"]) / math.log(2)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return bits per byte of the training text's byte counts, add one."""
        counts = self._text["train"].long().bincount(minlength=256) + 1
        asked = batch["targets"] != IGNORED
        bits = -(counts / counts.sum()).log2()[batch["targets"].clamp(min=0)]
        return {"byte counts": (bits * asked).sum(dim=1) / asked.sum(dim=1)}
