"""Associative recall with pairs and queries in random order, in a noncausal encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cab.backbones.encoder import Encoder, EncoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import LabelledTask
from cab.tasks._splits import draw_of_split
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, reading, standard

BLANK = 0
"""The token after a query."""


@dataclass(frozen=True)
class Mixed:
    """pairs K, each asked once, so 4 K tokens; `keys` and `values` are how many there are."""

    pairs: int
    keys: int
    values: int

    def __post_init__(self) -> None:
        if self.pairs > min(self.keys, self.values):
            raise ValueError("recall-anywhere needs pairs <= keys and pairs <= values")

    @property
    def length(self) -> int:
        """Tokens per example: K pairs and K queries of two tokens each."""
        return 4 * self.pairs

    @property
    def vocabulary(self) -> int:
        """The blank, then the keys, then the values."""
        return 1 + self.keys + self.values


def generate(params: Mixed, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    K distinct keys and K distinct values make K pairs `key value`; every key is asked once, as
    `key blank`. These 2 K couples stand in uniform random order, so half of the queries come
    before their pair. The label at a query's key is the value that its pair holds.
    """
    pairs = params.pairs
    keys = 1 + torch.rand(count, params.keys, generator=generator).argsort(dim=1)[:, :pairs]
    values = torch.rand(count, params.values, generator=generator).argsort(dim=1)[:, :pairs]
    values = values + 1 + params.keys
    order = torch.rand(count, 2 * pairs, generator=generator).argsort(dim=1)
    ignored = torch.full_like(values, IGNORED)
    first = torch.cat((keys, keys), dim=1).gather(1, order)
    second = torch.cat((values, torch.full_like(values, BLANK)), dim=1).gather(1, order)
    asked = torch.cat((ignored, values), dim=1).gather(1, order)
    inputs = torch.stack((first, second), dim=-1).flatten(1)
    labels = torch.stack((asked, torch.full_like(asked, IGNORED)), dim=-1).flatten(1)
    return inputs, labels


def _recipe(
    levels: tuple[Mixed, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    size = levels[-1].vocabulary
    model = EncoderConfig(width, vocabulary=size, outputs=size, length=levels[-1].length)
    return Recipe(levels[-1], model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="recall-anywhere",
    domain="retrieval",
    pattern="ns",
    summary="recall the values of 32 keys, each asked for once, before or after its pair",
    backbone="encoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.015625,
    version=3,
    length="128 tokens",
    source="MQAR (Zoology, Arora et al., 2023, arXiv 2312.04927) with pairs and queries shuffled",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.25,
            "seeds": 3,
            "measured": {
                "mean": 0.185,
                "none": 0.108,
                "softmax": 1.0,
                "window": 0.687,
                "last value": 0.194,
            },
            "floors": (0.5, 0.25, 0.125, 0.0625, 0.0312),
        },
        "standard": {"margin": 0.25, "seeds": 3},
    },
)
class RecallAnywhere(LabelledTask):
    """A query sees the whole sequence, which holds the pair that it asks for, before or behind it.

    The levels are the number of pairs, with the same keys and values at each. A window holds few
    of the pairs, and a mean over the tokens does not tell which value belongs to which key.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Mixed(pairs, keys=8, values=8) for pairs in (2, 4)),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Mixed(pairs, keys=64, values=64) for pairs in (2, 4, 8, 16, 32)),
            Width(dim=32, heads=2, layers=2, short_convolution=3),
            Training(1000, 32, 5e-3),
            200,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(Mixed(pairs, keys=512, values=512) for pairs in (2, 8, 32, 64, 128, 256)),
                reading(SHALLOW),
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate examples of a split."""
        inputs, targets = draw_of_split(
            lambda rows: generate(self.recipe.data, rows, generator), split, count
        )
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder."""
        return Encoder(self.recipe.model, slots)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the last pair's value as every answer."""
        values = batch["inputs"][:, 1::2]
        last = (torch.arange(values.shape[1]) * (values != BLANK)).argmax(dim=1, keepdim=True)
        return {"last value": self.score(values.gather(1, last), batch)}
