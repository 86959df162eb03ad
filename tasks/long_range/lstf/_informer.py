"""What CAB's forecasting tasks share: reading a series, its windows, its recipe, its errors.

The settings are those of CAB's scripts (tasks/LSTF/scripts in its repository) and, where these say
nothing, the defaults of Informer's program (Zhou et al., 2021, arXiv 2012.07436).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.informer import Informer, InformerConfig
from cab.backbones.slots import Slots, Width
from cab.data import load_table
from cab.task import Batch, PublishedTraining, Recipe, Split, Task, choose

CALENDAR = 4
"""Features of a step's date: hour of the day, day of the week, of the month and of the year."""
EPOCHS, BATCH = 6, 32
MONTH = 30 * 24
"""Hours; the series of transformers are divided by months of 30 days."""


@dataclass(frozen=True)
class Window:
    """Steps of the history, and steps to forecast; the column, or all of them if it is empty."""

    history: int
    horizon: int
    target: str = ""


@dataclass(frozen=True)
class Parts:
    """How many steps of a series train, validate and test, in this order."""

    train: int
    valid: int
    test: int

    @classmethod
    def of(cls, steps: int) -> "Parts":
        """Divide 7 to 1 to 2, as Informer does with any series but those of transformers."""
        train, test = int(0.7 * steps), int(0.2 * steps)
        return cls(train, steps - train - test, test)


def calendar(dates: Any) -> Tensor:
    """Return the features of dates (N,), each from -1/2 to 1/2: (N, CALENDAR)."""
    moment = np.asarray(dates, dtype="datetime64[s]")
    day = moment.astype("datetime64[D]")
    features = (
        ((moment - day).astype("timedelta64[h]"), 23),
        ((day.astype(int) + 3) % 7, 6),  # the first of January 1970 was a Thursday
        ((day - moment.astype("datetime64[M]")).astype("timedelta64[D]"), 30),
        ((day - moment.astype("datetime64[Y]")).astype("timedelta64[D]"), 365),
    )
    columns = [values.astype(int) / most - 0.5 for values, most in features]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def recipes(
    window: Window, parts: Parts, *, channels: int, known: int, encoder: int, decoder: int
) -> dict[str, Recipe]:
    """Return the recipe as published, `full`, and a narrower one with fewer windows, `standard`.

    Validation and test hold all windows in full. The rate is halved after every epoch but the
    first, and the weights of the best epoch are tested.

    Args:
        window: history, horizon and target.
        parts: the parts of the series.
        channels: columns of values.
        known: steps of the history that the decoder reads again.
        encoder: layers of the encoder.
        decoder: layers of the decoder.
    """
    epoch = (parts.train - window.history - window.horizon + 1) // BATCH
    training = PublishedTraining(
        EPOCHS * epoch,
        BATCH,
        1e-4,
        weight_decay=0.0,
        warmup=0.0,
        gradient_clip=0.0,
        schedule="decay",
        decay=0.5,
        every=epoch,
        hold=epoch,
        keep="best",
    )

    def of(dim: int, most: int | None) -> Recipe:
        valid, test = (part - window.horizon + 1 for part in (parts.valid, parts.test))
        model = InformerConfig(
            Width(dim=dim, heads=8, layers=decoder, expansion=4, dropout=0.05),
            encoder_layers=encoder,
            channels=channels,
            calendar=CALENDAR,
            history=window.history,
            label=known,
            horizon=window.horizon,
        )
        return Recipe(
            window,
            model,
            training,
            min(valid, most or valid),
            min(test, most or test),
            evaluation_batch=BATCH,
            evaluations=EPOCHS,
        )

    return {"standard": of(256, 500), "full": of(512, None)}


class Forecasting(Task):
    """Windows of a series in z-scores of its training part; no window is normalised by itself."""

    data_set: ClassVar[str]
    parts: ClassVar[Parts]

    @cached_property
    def _steps(self) -> dict[Split, tuple[Tensor, Tensor]]:
        """Values (N, C) and calendar features (N, CALENDAR) of each split."""
        assert self.data_dir is not None
        table, window, parts = (
            load_table(self.data_set, self.data_dir),
            self.recipe.data,
            self.parts,
        )
        names = [window.target] if window.target else [name for name in table if name != "date"]
        values = np.stack([table[name] for name in names], axis=1).astype(np.float64)
        train, valid = parts.train, parts.train + parts.valid
        mean, deviation = values[:train].mean(axis=0), values[:train].std(axis=0)
        # A channel that is constant in training has no unit; like scikit-learn's, it stays.
        series = torch.from_numpy((values - mean) / np.where(deviation, deviation, 1)).float()
        steps = (series, calendar(table["date"]))
        # A later split may look back into the one before for its history, never for its targets.
        back = window.history
        cuts: dict[Split, slice] = {
            "train": slice(train),
            "valid": slice(train - back, valid),
            "test": slice(valid - back, valid + parts.test),
        }
        return {split: (steps[0][cut], steps[1][cut]) for split, cut in cuts.items()}

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Cut random windows to train on; validation and test windows are evenly spaced."""
        (series, dates), window = self._steps[split], self.recipe.data
        length = window.history + window.horizon
        starts = choose(count, len(series) - length + 1, generator)
        if split != "train":
            starts = torch.linspace(0, len(series) - length, count).long()
        places = starts[:, None] + torch.arange(length)
        windows = series[places]
        return {
            "inputs": windows[:, : window.history],
            "calendar": dates[places],
            "targets": windows[:, window.history :],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build Informer."""
        return Informer(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(model(batch["inputs"], batch["calendar"]), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return mean squared and mean absolute errors of each window, in training z-scores."""
        errors = (model(batch["inputs"], batch["calendar"]) - batch["targets"]).flatten(1)
        return {"mse": errors.square().mean(dim=1), "mae": errors.abs().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean squared error of the last value, repeated."""
        errors = (batch["inputs"][:, -1:] - batch["targets"]).flatten(1)
        return {"last value": errors.square().mean(dim=1)}
