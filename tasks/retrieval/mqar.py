"""Multi-query associative recall: recall the values of many keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import LENGTH_FACTORS, LONGEST, Batch, Recipe, Split, Task, Training

IGNORED = -100
"""The label of positions that ask nothing."""


@dataclass(frozen=True)
class Recall:
    """Parameters of zoology's generator.

    length N tokens, `pairs` K, vocabulary V (keys below V / 2, values from V / 2), power the
    exponent that draws queries towards the front.
    """

    length: int
    pairs: int
    vocabulary: int
    power: float = 0.01

    def __post_init__(self) -> None:
        if 4 * self.pairs > self.length or self.pairs >= self.vocabulary // 2:
            raise ValueError("mqar needs 4 pairs <= length and pairs < vocabulary / 2")


def generate(params: Recall, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    K keys and K values, each without repetition, stand as k1 v1 ... kK vK; then each key is asked
    once, in one of the (N - 2K) / 2 slots after them, drawn with weights i^(power - 1). The label
    at a query is the value that followed its key; the value is never fed back.
    """
    pairs, half = params.pairs, params.vocabulary // 2
    keys = 1 + torch.rand(count, half - 1, generator=generator).argsort(dim=1)[:, :pairs]
    values = half + torch.rand(count, half, generator=generator).argsort(dim=1)[:, :pairs]
    slots = (params.length - 2 * pairs) // 2
    weights = torch.arange(1, slots + 1, dtype=torch.float64) ** (params.power - 1)
    chosen = torch.multinomial(weights.expand(count, slots), pairs, generator=generator)
    asked = 2 * pairs + 2 * chosen
    inputs = torch.zeros(count, params.length, dtype=torch.long)
    inputs[:, 0 : 2 * pairs : 2], inputs[:, 1 : 2 * pairs : 2] = keys, values
    inputs.scatter_(1, asked, keys)
    labels = torch.full_like(inputs, IGNORED).scatter_(1, asked, values)
    return inputs, labels


def _recipe(params: Recall, width: Width, training: Training, examples: int) -> Recipe:
    # Without positions, as in zoology's later protocol: nothing then ends with the length.
    model = DecoderConfig(
        width, vocabulary=params.vocabulary, length=LONGEST * params.length, positions=False
    )
    return Recipe(params, model, training, valid_examples=examples, test_examples=examples)


@register_task(
    name="mqar",
    domain="retrieval",
    pattern="cs",
    summary="recall the values of 16 earlier keys, each asked for once",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.03125,
    version=3,
    controls={"window": {"window": 8}},
    length="128 tokens",
    source="Zoology: Measuring and Improving Recall in Efficient Language Models (Arora et al., "
    "2023, arXiv 2312.04927), without random fillers",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.8,
            "seeds": 3,
            "measured": {
                "softmax": 1.0,
                "none": 0.029,
                "mean": 0.064,
                "window (window=8)": 0.031,
                "last value": 0.062,
            },
        }
    },
)
class Mqar(Task):
    """MQAR as in zoology, with an explicit generator instead of numpy's global one."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Recall(length=16, pairs=2, vocabulary=16),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Recall(length=128, pairs=16, vocabulary=64),
            Width(dim=32, heads=1, layers=2, short_convolution=3),
            Training(1000, 32, 4e-3),
            500,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy at the queries."""
        logits = model(batch["inputs"])
        return F.cross_entropy(logits.mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's queries that are right."""
        asked = batch["targets"] != IGNORED
        right = model(batch["inputs"]).argmax(dim=-1) == batch["targets"]
        return {"accuracy": (right & asked).sum(dim=1) / asked.sum(dim=1)}

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, Task]:
        """Return the task at other lengths, with fewer pairs where they would not fit."""
        params: Recall = self.recipe.data
        tasks = {}
        for factor in factors:
            length = int(params.length * factor)
            pairs = min(params.pairs, length // 4)
            tasks[factor] = self.stretched(factor, replace(params, length=length, pairs=pairs))
        return tasks

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the last value as every answer."""
        last = batch["inputs"][:, 2 * self.recipe.data.pairs - 1, None]
        asked = batch["targets"] != IGNORED
        right = (batch["targets"] == last) & asked
        return {"last value": right.sum(dim=1) / asked.sum(dim=1)}
