"""Memorization of MAD: the values of a fixed map, which the sequences do not contain."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import share
from cab.tasks.retrieval import _mad
from cab.tasks.retrieval._labelled import Labelled, most_frequent, recipe


@dataclass(frozen=True)
class Map:
    """Sequences of length N that ask for N / 2 values of a map.

    Of V tokens the last asks; of the others the first half, rounded down, are keys, each with a
    value of its own among the second. published takes the map of the paper's code.
    """

    length: int
    vocabulary: int
    published: bool = False

    def __post_init__(self) -> None:
        if self.length % 2 or self.length < 2 or self.vocabulary < 3:
            raise ValueError("memorization needs an even length >= 2 and vocabulary >= 3")


def values_of_keys(params: Map) -> Tensor:
    """Return the map (keys,), the same for all splits and seeds: it is what is to be memorised."""
    half = (params.vocabulary - 1) // 2
    if params.published:
        value_of = _mad.memory_map(params.vocabulary)
        return torch.tensor([value_of[key] for key in range(half)])
    draw = seeded("map of mad-memorization", params.vocabulary)
    return half + torch.randperm(params.vocabulary - 1 - half, generator=draw)[:half]


def generate(params: Map, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    Keys are drawn uniformly, each followed by the token that asks, whose label is its value.
    """
    value_of = values_of_keys(params)
    keys = torch.randint(len(value_of), (count, params.length // 2), generator=generator)
    inputs = torch.full((count, params.length), params.vocabulary - 1)
    labels = torch.full_like(inputs, IGNORED)
    inputs[:, 0::2], labels[:, 1::2] = keys, value_of[keys]
    return inputs, labels


def _recipe(params: Map, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.vocabulary}
    return recipe(params, width, training, examples, **sizes)


# Without the short convolution, which would bring the key to the place that asks for its value.
PAPER_WIDTH = Width(dim=128, heads=1, layers=2)
PAPER_TRAINING = Training(400, 128, 1e-3)
"""200 epochs of 256 examples."""
STANDARD = Map(length=32, vocabulary=256)


@register_task(
    name="mad-memorization",
    domain="retrieval",
    pattern="cs",
    summary="recall the values of 255 keys of a map that is learned during training",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.00390625,
    version=1,
    length="32 tokens",
    source="Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv "
    "2403.17844)",
    licence="generated",
    controls={"window": {"window": 1}},
)
class MadMemorization(Labelled):
    """A window of two tokens is enough, since the feed-forward layers memorise the map.

    Splits share the map, but in practice no sequence, since there are 255^16.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Map(length=8, vocabulary=64),
            Width(dim=16, heads=1, layers=1),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Map(length=32, vocabulary=512),
            Width(dim=64, heads=2, layers=2),
            Training(250, 32, 4e-3),
            500,
        ),
        "standard": _recipe(STANDARD, PAPER_WIDTH, PAPER_TRAINING, 1280),
        "full": _recipe(replace(STANDARD, published=True), PAPER_WIDTH, PAPER_TRAINING, 1280),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Map = self.recipe.data
        if params.published:
            instance = partial(
                _mad.memorization,
                length=params.length,
                vocabulary=params.vocabulary,
                value_of=_mad.memory_map(params.vocabulary),
            )
            inputs, targets = _mad.draw_published(instance, count, generator)
        else:
            inputs, targets = generate(params, count, generator)
        return {"inputs": inputs, "targets": targets}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what each example's most frequent value would score as the answer to all."""
        targets = batch["targets"]
        asked = targets != IGNORED
        guess = most_frequent(targets, asked, self.recipe.data.vocabulary)
        return {"most frequent": share(targets == guess, asked)}
