"""Recall with keys that are written several times: the last value counts."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cab.backbones.decoder import DecoderConfig
from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import share
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, reading, standard
from cab.tasks.retrieval._labelled import Labelled


@dataclass(frozen=True)
class Writes:
    """`keys` different ones, each written `writes` times and then asked once.

    Keys are the symbols 0 to V - 1 of `symbols` V, values V to 2 V - 1.
    """

    keys: int
    writes: int
    symbols: int

    def __post_init__(self) -> None:
        if not 0 < self.keys <= self.symbols or not 0 < self.writes <= self.symbols:
            raise ValueError("recall-latest needs keys and writes from 1 to symbols")

    @property
    def length(self) -> int:
        """Tokens per sequence: two for each write, one for each question."""
        return self.keys * (2 * self.writes + 1)


def generate(params: Writes, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    The writes are pairs of a key and a value, in random order; the values of one key differ. The
    keys then follow once each, in random order, and their labels are the values that were written
    last; no value is fed back.
    """
    keys, writes, symbols = params.keys, params.writes, params.symbols
    chosen = torch.rand(count, symbols, generator=generator).argsort(dim=1)[:, :keys]
    # The values of each key, in the order in which they are written: (count, keys, writes).
    values = torch.rand(count, keys, symbols, generator=generator).argsort(dim=2)[..., :writes]
    order = torch.rand(count, keys * writes, generator=generator).argsort(dim=1) % keys
    same = order[:, :, None] == order[:, None, :]
    turn = same.tril(diagonal=-1).sum(dim=2)
    row = torch.arange(count)[:, None]
    written = torch.stack((chosen.gather(1, order), symbols + values[row, order, turn]), dim=2)
    asked = torch.rand(count, keys, generator=generator).argsort(dim=1)
    inputs = torch.cat((written.flatten(1), chosen.gather(1, asked)), dim=1)
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -keys:] = symbols + values[row, asked, -1]
    return inputs, labels


def _recipe(
    levels: tuple[Writes, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = DecoderConfig(width, vocabulary=2 * top.symbols, length=top.length, positions=0.03)
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="recall-latest",
    domain="retrieval",
    pattern="cs",
    summary="recall the last of two values of each of 16 keys",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.015625,
    version=2,
    length="6 to 80 tokens",
    source="MQAR (Zoology: Measuring and Improving Recall in Efficient Language Models, Arora et "
    "al., 2023, arXiv 2312.04927), with keys that are written several times",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.15,
            "seeds": 3,
            "measured": {
                "mean": 0.225,
                "none": 0.247,
                "softmax": 0.996,
                "window": 0.769,
                "last value": 0.299,
            },
            "floors": (0.5125, 0.5058, 0.2612, 0.1394, 0.0775),
        },
        "standard": {"margin": 0.15, "seeds": 3},
    },
)
class RecallLatest(Labelled):
    """Each key is written several times among the others, then asked; the last value counts.

    The levels are the numbers of keys and of writes. A memory that adds what is written cannot
    tell the values of a key apart; one that forgets evenly loses keys that were written early.
    One layer is enough, as the short convolution mixes a key into its value's token; with two,
    some seeds of gated memories stop at a guess among the values that they have seen.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (Writes(2, 2, symbols=8), Writes(3, 2, symbols=8)),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": _recipe(
            tuple(
                Writes(keys, writes, symbols=64)
                for keys, writes in ((2, 1), (2, 2), (4, 2), (8, 2), (16, 2))
            ),
            Width(dim=64, heads=4, layers=1, short_convolution=3),
            Training(2500, 32, 5e-3),
            200,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Writes(keys, writes, symbols=512)
                    for keys, writes in ((2, 1), (4, 2), (16, 2), (64, 2), (128, 3))
                ),
                reading(SHALLOW),
                replace(TRAINING, steps=20_000),
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the last value of the sequence as every answer."""
        last = batch["inputs"][:, -self.recipe.data.keys - 1, None]
        asked = batch["targets"] != IGNORED
        return {"last value": share(batch["targets"] == last, asked)}
