"""Multi-query associative recall: recall the values of many keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, LENGTH_FACTORS, LONGEST, Batch, Recipe, Split, Task, Training
from cab.tasks._labels import LabelledTask
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, reading, standard


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


def _recipe(
    levels: Sequence[Recall],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    # Without positions, as in zoology's later protocol: nothing then ends with the length.
    top = levels[-1]
    model = DecoderConfig(
        width, vocabulary=top.vocabulary, length=LONGEST * top.length, positions=False
    )
    return Recipe(top, model, training, examples, examples, levels=tuple(levels), rates=rates)


@register_task(
    name="mqar",
    domain="retrieval",
    pattern="cs",
    summary="recall the values of 32 earlier keys, each asked for once",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.015625,
    version=4,
    controls={"window": {"window": 16}},
    length="8 to 128 tokens",
    source="Zoology: Measuring and Improving Recall in Efficient Language Models (Arora et al., "
    "2023, arXiv 2312.04927), without random fillers",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.35,
            "seeds": 3,
            "measured": {
                "mean": 0.203,
                "none": 0.158,
                "softmax": 1.0,
                "window": 0.546,
                "last value": 0.194,
            },
            "floors": (0.6458, 0.2517, 0.125, 0.0625, 0.0312),
        },
        "standard": {"margin": 0.35, "seeds": 3},
    },
)
class Mqar(LabelledTask):
    """MQAR as in zoology, with an explicit generator instead of numpy's global one.

    The levels are 2 to 32 pairs, each in the shortest sequence with room for its questions. A key
    and its value occur once, in random order, so only the place of the key tells the value: a
    memory of fixed size holds fewer pairs the longer it is written to, and a window loses those
    that it has passed. In standard the levels are zoology's training sets and its two longest
    tests, with its vocabulary and without positions; its widths of 64 to 512 are `model.dim`, of
    which 128 is scored.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            [Recall(8, pairs=2, vocabulary=16), Recall(16, pairs=3, vocabulary=16)],
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": _recipe(
            [Recall(4 * pairs, pairs, vocabulary=128) for pairs in (2, 4, 8, 16, 32)],
            Width(dim=32, heads=2, layers=2, short_convolution=3),
            Training(1000, 32, 5e-3),
            200,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                [
                    Recall(length, pairs, vocabulary=8192)
                    for length, pairs in (
                        *((64, 4), (128, 8), (256, 16), (256, 32)),
                        *((256, 64), (512, 128), (1024, 256)),
                    )
                ],
                reading(SHALLOW),
                replace(TRAINING, steps=20_000, learning_rate=2e-3),
                EXAMPLES,
            ),
            evaluation_batch=16,
            rates=(1e-3, 2e-3, 4e-3),
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

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
        return {"last value": self.score(last, batch)}
