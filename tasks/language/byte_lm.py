"""Predict the next byte of real text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.data import load_text
from cab.registry import register_task
from cab.task import LENGTH_FACTORS, LONGEST, Batch, Recipe, Split, Task, Training, choose


@dataclass(frozen=True)
class Windows:
    """Length of a window in bytes."""

    length: int


def _recipe(length: int, width: Width, training: Training, examples: int) -> Recipe:
    model = DecoderConfig(width, vocabulary=256, length=LONGEST * length, positions=1.0)
    return Recipe(Windows(length), model, training, examples // 4, examples)


@register_task(
    name="byte-lm",
    domain="language",
    pattern="cs",
    summary="predict the next byte of the plays of Shakespeare (bits per byte)",
    backbone="decoder",
    metric="bits_per_byte",
    higher_is_better=False,
    chance=8.0,
    version=2,
    length="128 bytes",
    data=("tinyshakespeare",),
    imports=("datasets",),
    source="tinyshakespeare (Karpathy, 2015)",
    licence="public domain",
    diagnostic=("quick",),
)
class ByteLm(Task):
    """Windows of the text: 90 % for training, then 5 % for validation and 5 % for testing."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(32, Width(dim=16, heads=1, layers=1), Training(4, 8, 3e-3), 20),
        "quick": _recipe(
            128,
            Width(dim=96, heads=2, layers=1, expansion=4, short_convolution=3),
            Training(1700, 16, 7e-3),
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
        """Cut random windows to train on; validation and test are cut in order."""
        text, length = self._text[split], self.recipe.data.length
        starts = choose(count, len(text) - length, generator)
        if split != "train":
            starts = torch.arange(count) * length
        windows = text[starts[:, None] + torch.arange(length + 1)].long()
        return {"inputs": windows[:, :-1], "targets": windows[:, 1:]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per byte."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"])

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, Task]:
        """Return the task with other windows of the same text."""
        length = self.recipe.data.length
        return {f: self.stretched(f, Windows(int(length * f))) for f in factors}

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return bits per byte of each window."""
        nats = F.cross_entropy(model(batch["inputs"]).mT, batch["targets"], reduction="none")
        return {"bits_per_byte": nats.mean(dim=1) / math.log(2)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return bits per byte of add-one byte bigram counts of the training text."""
        text = self._text["train"].long()
        counts = torch.bincount(text[:-1] * 256 + text[1:], minlength=256 * 256).view(256, 256) + 1
        bits = -(counts / counts.sum(dim=1, keepdim=True)).log2()
        return {"byte pairs": bits[batch["inputs"], batch["targets"]].mean(dim=1)}
