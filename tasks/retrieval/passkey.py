"""Passkey: recall a number that appears once, somewhere in filler text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from cab.backbones.decoder import DecoderConfig
from cab.backbones.slots import Width
from cab.registry import register_task
from cab.seeding import generator as seeded
from cab.task import IGNORED, LENGTH_FACTORS, LONGEST, SPLITS, Batch, Recipe, Split, Task, Training
from cab.tasks._labels import share
from cab.tasks.retrieval._labelled import Labelled, most_frequent

VOCABULARY = 128
"""Bytes; the text is ASCII."""
DIGITS = 5
FILLER = "Snow falls on the hills. A boat drifts down the river. Bees hum. And so it goes on. "
TOLD = "The pass key is ", ". Remember it. "
ASKED = "The pass key is "
OVERHEAD = len(TOLD[0]) + DIGITS + len(TOLD[1]) + len(ASKED) + DIGITS - 1
"""Bytes that are no filler; the last digit of the answer is not read."""

HELD_OUT = 5_000
"""How many of the 100,000 numbers validation has for itself, and as many the test."""


@dataclass(frozen=True)
class Text:
    """`length` bytes are read, all but the answer's last digit."""

    length: int

    def __post_init__(self) -> None:
        if self.length < OVERHEAD:
            raise ValueError(f"passkey needs a length of at least {OVERHEAD} bytes")


def numbers(split: Split) -> Tensor:
    """Return the numbers of a split, (count, 5) digits; no two splits share one."""
    shuffled = torch.randperm(10**DIGITS, generator=seeded("numbers of passkey"))
    valid, test, train = shuffled.split((HELD_OUT, HELD_OUT, 10**DIGITS - 2 * HELD_OUT))
    own = {"train": train, "valid": valid, "test": test}[split]
    return own[:, None] // 10 ** torch.arange(DIGITS - 1, -1, -1) % 10


def generate(
    params: Text, own: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length), as bytes.

    The filler begins at a uniformly drawn byte of its text and repeats; the sentence that tells
    one of the numbers `own` stands before a uniformly drawn byte of it, or behind the last. Then
    the number is asked for; the labels are its digits, each at the byte before it.
    """
    filler, ask = _bytes(FILLER), _bytes(ASKED)
    digits = own[torch.randint(len(own), (count,), generator=generator)] + ord("0")
    room = params.length - OVERHEAD
    begin = torch.randint(len(filler), (count, 1), generator=generator)
    depth = torch.randint(room + 1, (count, 1), generator=generator)
    before, after = (_bytes(part).expand(count, -1) for part in TOLD)
    told = torch.cat((before, digits, after), dim=1)
    place = torch.arange(room + told.shape[1]) - depth
    inside = (place >= 0) & (place < told.shape[1])
    of_filler = torch.where(place < 0, depth + place, depth + place - told.shape[1])
    text = torch.where(
        inside,
        told.gather(1, place.clamp(0, told.shape[1] - 1)),
        filler[(begin + of_filler) % len(filler)],
    )
    inputs = torch.cat((text, ask.expand(count, -1), digits[:, :-1]), dim=1)
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -DIGITS:] = digits
    return inputs, labels


def _bytes(text: str) -> Tensor:
    return torch.tensor(list(text.encode("ascii")))


def _recipe(length: int, width: Width, training: Training, examples: int, batch: int) -> Recipe:
    model = DecoderConfig(width, vocabulary=VOCABULARY, length=LONGEST * length, positions=False)
    return Recipe(Text(length), model, training, examples, examples, evaluation_batch=batch)


@register_task(
    name="passkey",
    domain="retrieval",
    pattern="cs",
    summary="recall five digits that appear once in 256 bytes of text",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="256 bytes",
    source="the passkey test of Landmark Attention (Mohtashami and Jaggi, 2023, arXiv "
    "2305.16300) with another filler text, and with all numbers of five digits equally likely",
    licence="generated",
    controls={"window": {"window": 16}},
)
class Passkey(Labelled):
    """`accuracy` is the share of the digits, each after the true ones before it.

    `exact`, whether all five are right, is what greedy decoding would score, and the measure of
    the paper. There the number is at most 50,000, which skews its first digit. No position is
    given, so that none is beyond those of training.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            260,
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 8, 4e-3),
            20,
            20,
        ),
        "quick": _recipe(
            256,
            Width(dim=64, heads=1, layers=2, short_convolution=3),
            Training(260, 32, 4e-3),
            400,
            100,
        ),
        "standard": _recipe(
            2048,
            Width(dim=256, heads=4, layers=4, expansion=4, short_convolution=3),
            Training(5_000, 32, 1e-3),
            1000,
            32,
        ),
        "full": _recipe(
            8192,
            Width(dim=256, heads=4, layers=6, expansion=4, short_convolution=3),
            Training(20_000, 32, 5e-4),
            1000,
            8,
        ),
    }

    @cached_property
    def _numbers(self) -> dict[Split, Tensor]:
        return {split: numbers(split) for split in SPLITS}

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their numbers."""
        inputs, targets = generate(self.recipe.data, self._numbers[split], count, generator)
        return {"inputs": inputs, "targets": targets}

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, Task]:
        """Return the task with less or more filler."""
        params: Text = self.recipe.data
        return {
            factor: self.stretched(factor, replace(params, length=int(params.length * factor)))
            for factor in factors
        }

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the most frequent digit as every answer."""
        inputs, targets = batch["inputs"], batch["targets"]
        told = (inputs >= ord("0")) & (inputs <= ord("9"))
        guess = most_frequent(inputs, told, VOCABULARY)
        return {"most frequent": share(targets == guess, targets != IGNORED)}
