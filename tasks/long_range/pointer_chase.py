"""Follow pointers through a shuffled map, several steps from every symbol."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder import Encoder, EncoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training


@dataclass(frozen=True)
class Chase:
    """A map f of S symbols onto themselves, to be applied `hops` times to every token."""

    symbols: int
    hops: int

    def __post_init__(self) -> None:
        if not 2 <= self.hops < self.symbols - 1:
            raise ValueError("pointer-chase needs 2 <= hops < symbols - 1")


def generate(params: Chase, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, both (count, 2 S).

    The map is one random cycle through all symbols, so no short loop gives an answer away. Its
    pairs x, f(x) stand in random order; keys are tokens below S, values S above their symbol.
    The target of every token is f^hops of its symbol: `hops` look-ups for a value, one fewer for a
    key, whose value is the next token.
    """
    shape = (count, params.symbols)
    cycle, order = (torch.rand(shape, generator=generator).argsort(dim=1) for _ in range(2))
    keys, values, from_keys, from_values = (
        cycle.roll(-steps, dims=1).gather(1, order)
        for steps in (0, 1, params.hops, 1 + params.hops)
    )
    inputs = torch.stack((keys, params.symbols + values), dim=-1).flatten(1)
    return inputs, torch.stack((from_keys, from_values), dim=-1).flatten(1)


def _recipe(params: Chase, width: Width, training: Training, examples: int) -> Recipe:
    size = params.symbols
    model = EncoderConfig(width, vocabulary=2 * size, outputs=size, length=2 * size)
    return Recipe(params, model, training, examples, examples)


@register_task(
    name="pointer-chase",
    domain="long_range",
    pattern="ns",
    summary="follow two steps of a shuffled map of 24 symbols",
    backbone="encoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.041666666666666664,
    version=1,
    length="48 tokens",
    source="after the pointer chasing problem of communication complexity (Papadimitriou and "
    "Sipser, 1984)",
    licence="generated",
    controls={"window": {"window": 8}},
    diagnostic=("quick",),
)
class PointerChase(Task):
    """Two dependent look-ups; splits are drawn from 23! x 24! sequences.

    It is not scored, because it has no levels: with more symbols, softmax does not learn the
    second look-up in the steps of a scored task.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Chase(symbols=8, hops=2),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Chase(symbols=24, hops=2),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(1200, 64, 4e-3),
            500,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder."""
        return Encoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy over all tokens."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of right answers per example: of all tokens, and of the values."""
        right = (model(batch["inputs"]).argmax(dim=-1) == batch["targets"]).float()
        return {"accuracy": right.mean(dim=1), "value_accuracy": right[:, 1::2].mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of answering with the value of the next pair."""
        values = batch["inputs"][:, 1::2] - self.recipe.data.symbols
        guess = values.roll(-1, dims=1).repeat_interleave(2, dim=1)
        return {"next value": (guess == batch["targets"]).float().mean(dim=1)}
