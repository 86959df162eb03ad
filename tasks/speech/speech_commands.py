"""Recognise one of ten commands in a second of audio, as mel frames or sample by sample."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.classifier import Classifier, ClassifierConfig
from cab.backbones.slots import Slots, Width
from cab.data import decode_audio, keep_apart, load_part
from cab.data.audio import log_mel
from cab.registry import register_task
from cab.task import SPLITS, Batch, Recipe, Split, Task, Training, choose

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The first ten classes of the published set, in its order."""
PARTS: dict[Split, str] = {"train": "train", "valid": "validation", "test": "test"}
SAMPLE_RATE = 16_000
BANDS, FOURIER, HOP = 40, 400, 160
"""Mel bands, samples per Fourier window and from one frame to the next: 10 ms."""


@dataclass(frozen=True)
class Second:
    """A second of sound; `mel` makes frames of it, otherwise each sample is a token."""

    mel: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens, and numbers per token."""
        return (1 + SAMPLE_RATE // HOP, BANDS) if self.mel else (SAMPLE_RATE, 1)


def _recipe(second: Second, width: Width, training: Training, valid: int, test: int) -> Recipe:
    length, features = second.shape
    model = ClassifierConfig(width, classes=len(COMMANDS), length=length, features=features)
    return Recipe(second, model, training, valid, test)


def read_commands(table: Any) -> tuple[Tensor, Tensor]:
    """Return the sounds (K, samples), 16-bit, and classes (K,) of the commands in a table.

    Shorter recordings are filled with silence, longer ones cut.
    """
    labels = np.asarray(table.with_format("numpy")[:]["label"])
    names = getattr(table.features["label"], "names", None)
    numbers = [names.index(word) for word in COMMANDS] if names else range(len(COMMANDS))
    sounds, classes = [], []
    for row in np.flatnonzero(np.isin(labels, list(numbers))).tolist():
        waveform, rate = decode_audio(table[row]["audio"])
        if rate != SAMPLE_RATE:
            raise ValueError(f"speech-commands: recording {row} has {rate} samples a second")
        sound = np.zeros(SAMPLE_RATE, dtype=np.int16)
        kept = waveform[:SAMPLE_RATE]
        sound[: len(kept)] = np.clip(np.rint(kept * 2**15), -(2**15), 2**15 - 1)
        sounds.append(sound)
        classes.append(list(numbers).index(labels[row]))
    return torch.from_numpy(np.stack(sounds)), torch.tensor(classes)


@register_task(
    name="speech-commands",
    domain="speech",
    pattern="ns",
    summary="recognise one of ten commands in one second of audio",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="101 frames of 10 ms in standard, 16,000 samples in full",
    data=("speech-commands-2",),
    imports=("datasets",),
    source="Speech Commands, version 2 (Warden, 2018, arXiv 1804.03209), its ten command words, "
    "as in S4 (Gu et al., 2022, arXiv 2111.00396), but with the published split by speaker. "
    "Tested on small files of the same format only, not on the real set; its address on the hub "
    "may have changed",
    licence="CC BY 4.0",
)
class SpeechCommands(Task):
    """The published split, without recordings that are also in a later part of it."""

    recipes = {  # noqa: RUF012
        "standard": _recipe(
            Second(mel=True),
            Width(dim=128, heads=4, layers=4, expansion=4, dropout=0.1),
            Training(20_000, 64, 1e-3),
            valid=2000,
            test=4000,
        ),
        "full": _recipe(
            Second(mel=False),
            Width(dim=128, heads=4, layers=6, expansion=4, dropout=0.1),
            Training(100_000, 16, 1e-3),
            valid=2000,
            test=4000,
        ),
    }

    @cached_property
    def _sounds(self) -> dict[Split, tuple[Tensor, Tensor]]:
        directory = self.data_dir
        assert directory is not None
        found = {
            split: read_commands(load_part("speech-commands-2", directory, part))
            for split, part in PARTS.items()
        }

        train, valid = keep_apart(
            *((sound.numpy().tobytes() for sound in found[split][0]) for split in SPLITS)
        )
        kept: dict[Split, list[int]] = {"train": train, "valid": valid}
        for split, rows in kept.items():
            found[split] = (found[split][0][rows], found[split][1][rows])
        return found

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw random recordings for training; validation and test use them in order."""
        sounds, classes = self._sounds[split]
        which = choose(count, len(sounds), generator)
        if split != "train":
            which = torch.arange(count) % len(sounds)
        inputs = sounds[which].float() / 2**15
        if self.recipe.data.mel:
            inputs = log_mel(inputs, sample_rate=SAMPLE_RATE, bands=BANDS, window=FOURIER, hop=HOP)
            # A silent frame is -13.8, a loud one near 5: so they are of the order of one.
            inputs = inputs / 5 + 1
        else:
            inputs = inputs[..., None]
        return {"inputs": inputs, "targets": classes[which]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the classifier."""
        return Classifier(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(model(batch["inputs"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each command was recognised."""
        return {"accuracy": (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()}
