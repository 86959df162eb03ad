"""Long-sequence forecasting of an electricity transformer: the LSTF task of the CAB paper."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.forecaster import DeepForecasterConfig, Forecaster, ForecasterConfig
from cab.backbones.slots import Slots, Width
from cab.data import load_table
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training, choose

MONTH = 30 * 24
DAY = 24
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


@dataclass(frozen=True)
class Span:
    """Hours of the history, and hours to forecast."""

    history: int
    horizon: int


def _recipe(span: Span, label: int, width: Width, training: Training, examples: int) -> Recipe:
    model = ForecasterConfig(
        width, channels=len(CHANNELS), history=span.history, label=label, horizon=span.horizon
    )
    return Recipe(span, model, training, examples, examples)


def published(
    span: Span, channels: int, width: Width, encoder_layers: int, steps: int, examples: int
) -> Recipe:
    """Make a recipe of CAB's, after Informer's scripts: 336 known steps, six epochs in batches."""
    model = DeepForecasterConfig(
        width,
        channels=channels,
        history=span.history,
        label=336,
        horizon=span.horizon,
        encoder_layers=encoder_layers,
    )
    return Recipe(
        span, model, Training(steps, 32, 1e-4), examples // 4, examples, evaluation_batch=16
    )


def informer_width(dim: int, layers: int) -> Width:
    """Informer's widths in its decoder of `layers`; its own dim is 512."""
    return Width(dim=dim, heads=8, layers=layers, expansion=4, dropout=0.05)


class Series(NamedTuple):
    """Values (steps, channels), and where training and validation end."""

    values: Any
    train: int
    valid: int


class Forecasting(Task):
    """Windows of a series that is scaled by z-scores of its training part."""

    def read(self, directory: Path) -> Series:
        """Read the series."""
        raise NotImplementedError

    @cached_property
    def _series(self) -> dict[Split, Tensor]:
        assert self.data_dir is not None
        values, end, valid = self.read(self.data_dir)
        series = torch.from_numpy(values).float()
        train = series[:end]
        series = (series - train.mean(dim=0)) / train.std(dim=0, correction=0)
        # A later split may look back into the one before for its history, never for its targets.
        back = self.recipe.data.history
        return {
            "train": series[:end],
            "valid": series[end - back : valid],
            "test": series[valid - back :],
        }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Cut random windows to train on; validation and test windows are evenly spaced."""
        series, span = self._series[split], self.recipe.data
        length = span.history + span.horizon
        starts = choose(count, len(series) - length + 1, generator)
        if split != "train":
            starts = torch.linspace(0, len(series) - length, count).long()
        windows = series[starts[:, None] + torch.arange(length)]
        return {"inputs": windows[:, : span.history], "targets": windows[:, span.history :]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the forecaster."""
        return Forecaster(self.recipe.model, slots)

    def _errors(self, model: nn.Module, batch: Batch) -> Tensor:
        """Forecast in units of each window's own mean and deviation, then compare."""
        history = batch["inputs"]
        mean = history.mean(dim=1, keepdim=True)
        deviation = history.std(dim=1, keepdim=True, correction=0) + 1e-5
        ahead = model((history - mean) / deviation) * deviation + mean
        return ahead - batch["targets"]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean squared error."""
        return self._errors(model, batch).square().mean()

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return mean squared and mean absolute errors of each window, in training z-scores."""
        errors = self._errors(model, batch).flatten(1)
        return {"mse": errors.square().mean(dim=1), "mae": errors.abs().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean squared errors of the last value and of the last day, repeated."""
        history, horizon = batch["inputs"], self.recipe.data.horizon
        guesses = {
            "last value": history[:, -1:].expand(-1, horizon, -1),
            "yesterday": history[:, -DAY:].repeat(1, -(-horizon // DAY), 1)[:, :horizon],
        }
        return {
            name: F.mse_loss(guess, batch["targets"], reduction="none").flatten(1).mean(dim=1)
            for name, guess in guesses.items()
        }


@register_task(
    name="forecast",
    domain="long_range",
    pattern="nc",
    summary="forecast 96 hours of the seven channels of ETTh1 from the previous 192 hours",
    backbone="forecaster",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="144 queries, 192 keys",
    data=("etth1",),
    imports=("datasets",),
    source="ETTh1, from Informer (Zhou et al., 2021, arXiv 2012.07436)",
    licence="CC BY-ND 4.0",
    diagnostic=("quick",),
)
class Forecast(Forecasting):
    """Informer's split (12, 4 and 4 months) and scaling (z-scores of the training part)."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Span(24, 12), 12, Width(dim=16, heads=2, layers=1), Training(4, 8, 1e-3), 20
        ),
        "quick": _recipe(
            Span(192, 96), 48, Width(dim=32, heads=2, layers=1), Training(400, 32, 1e-3), 250
        ),
        "standard": published(Span(336, 720), 7, informer_width(256, 1), 2, 1_420, 500),
        "full": published(Span(336, 720), 7, informer_width(512, 1), 2, 1_420, 2_000),
    }

    def read(self, directory: Path) -> Series:
        """Read ETTh1: 12 months for training, 4 for validation, 4 for testing."""
        table = load_table("etth1", directory)
        values = np.stack([table[channel] for channel in CHANNELS], axis=1)
        return Series(values[: 20 * MONTH], 12 * MONTH, 16 * MONTH)
