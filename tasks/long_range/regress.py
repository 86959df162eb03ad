"""In-context regression: predict values of a function from noisy samples."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.context_reader import ContextReader, ContextReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, standard

OCTAVES = 6
"""Places are given to the network as sines and cosines of 1, 2, 4, ... periods."""


@dataclass(frozen=True)
class Waves:
    """samples of a sum of `waves` sinusoids of up to `frequency` periods on [0, 1].

    noise is the standard deviation of a sample's error; the function's own variance is 1.
    """

    samples: int
    queries: int
    waves: int
    frequency: float
    noise: float


def generate(params: Waves, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return positions and noisy values of samples, positions and true values of queries."""
    shape = (count, 1, params.waves)
    amplitude = torch.randn(shape, generator=generator) * math.sqrt(2 / params.waves)
    frequency = torch.rand(shape, generator=generator) * params.frequency
    phase = torch.rand(shape, generator=generator)
    places = torch.rand(count, params.samples + params.queries, 1, generator=generator)
    angles = 2 * math.pi * (frequency * places + phase)
    values = (amplitude * angles.sin()).sum(dim=-1)
    noise = torch.randn(count, params.samples, generator=generator) * params.noise
    known, asked = places.squeeze(-1).split((params.samples, params.queries), dim=1)
    return {
        "places": known,
        "values": values[:, : params.samples] + noise,
        "asked": asked,
        "targets": values[:, params.samples :],
    }


def place_features(places: Tensor) -> Tensor:
    """Return sines and cosines of the places at OCTAVES octaves: (..., 2 OCTAVES)."""
    angles = 2 * math.pi * places[..., None] * 2.0 ** torch.arange(OCTAVES)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def _recipe(
    levels: tuple[Waves, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    hardest = levels[-1]
    model = ContextReaderConfig(
        width,
        context_features=2 * OCTAVES + 1,
        query_features=2 * OCTAVES,
        outputs=1,
        length=max(hardest.samples, hardest.queries),
    )
    return Recipe(hardest, model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="regress",
    domain="long_range",
    pattern="nc",
    summary="predict values of a random function from 512 noisy samples at random positions",
    backbone="context reader",
    metric="r2",
    higher_is_better=True,
    chance=0.0,
    version=3,
    length="32 queries, 512 samples",
    source="in the manner of What Can Transformers Learn In-Context? (Garg et al., 2022, arXiv "
    "2208.01066), with sums of sinusoids",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.15,
            "seeds": 3,
            "measured": {"mean": 0.502, "none": 0.002, "softmax": 0.971, "nearest sample": 0.747},
            "floors": (0.9439, 0.7392, 0.7507, 0.7463),
        },
        "standard": {"margin": 0.15, "seeds": 3},
    },
)
class Regress(Task):
    """Sums of sinusoids, sampled with noise at uniformly drawn positions.

    The levels are the number of samples and the highest frequency. The noise has half the standard
    deviation of the function, so that the nearest sample is a poor answer and the mean of many
    samples near a query is a good one; the higher the frequency, the narrower that neighbourhood.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(
                Waves(samples=24, queries=10, waves=4, frequency=frequency, noise=0.4)
                for frequency in (1, 2)
            ),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": _recipe(
            tuple(
                Waves(samples=samples, queries=32, waves=16, frequency=frequency, noise=0.5)
                for samples, frequency in ((256, 1), (256, 3), (512, 6), (512, 12))
            ),
            Width(dim=32, heads=2, layers=2),
            Training(1000, 16, 5e-3),
            200,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Waves(samples=samples, queries=64, waves=64, frequency=frequency, noise=0.5)
                    for samples, frequency in ((256, 1), (512, 6), (1024, 24), (2048, 48))
                ),
                DEEP,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        batch = generate(self.recipe.data, count, generator)
        context = torch.cat((place_features(batch["places"]), batch["values"][..., None]), dim=-1)
        return {**batch, "context": context, "inputs": place_features(batch["asked"])}

    def build(self, slots: Slots) -> nn.Module:
        """Build the context reader."""
        return ContextReader(self.recipe.model, slots)

    def _squared_error(self, model: nn.Module, batch: Batch) -> Tensor:
        answers = model(batch["context"], batch["inputs"]).squeeze(-1)
        return F.mse_loss(answers, batch["targets"], reduction="none").mean(dim=1)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean squared error."""
        return self._squared_error(model, batch).mean()

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return R2 of each function: 1 - mean squared error, as the variance is 1 by design."""
        return {"r2": 1 - self._squared_error(model, batch)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return R2 of the value of the nearest sample."""
        nearest = (batch["asked"][:, :, None] - batch["places"][:, None, :]).abs().argmin(dim=-1)
        guess = batch["values"].gather(1, nearest)
        return {"nearest sample": 1 - (guess - batch["targets"]).square().mean(dim=1)}
