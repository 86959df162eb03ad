"""Induction: continue a repeated sequence, wherever the repetition begins."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import LabelledTask


@dataclass(frozen=True)
class Repeats:
    """Sequences of `length` distinct symbols out of `symbols`, read twice."""

    length: int
    symbols: int

    def __post_init__(self) -> None:
        if not 2 <= self.length <= self.symbols:
            raise ValueError("induction needs 2 <= length <= symbols")


def generate(params: Repeats, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, 2 length).

    The repetition begins at a random symbol of the sequence and wraps around its end. The label of
    a repeated symbol is the symbol that followed it before; the last symbol of the sequence has no
    label.
    """
    length = params.length
    first = torch.rand(count, params.symbols, generator=generator).argsort(dim=1)[:, :length]
    begin = torch.randint(length, (count, 1), generator=generator)
    place = (begin + torch.arange(length)) % length
    following = first.roll(-1, dims=1).index_fill(1, torch.tensor([length - 1]), IGNORED)
    inputs = torch.cat((first, first.gather(1, place)), dim=1)
    labels = torch.cat((torch.full_like(first, IGNORED), following.gather(1, place)), dim=1)
    return inputs, labels


def _recipe(params: Repeats, width: Width, training: Training, examples: int) -> Recipe:
    model = DecoderConfig(width, vocabulary=params.symbols, length=2 * params.length)
    return Recipe(params, model, training, examples, examples)


@register_task(
    name="induction",
    domain="long_range",
    pattern="cs",
    summary="continue a repeated sequence of 48 symbols from any position",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.015625,
    version=1,
    length="96 tokens",
    source="repeated random sequences of In-context Learning and Induction Heads (Olsson et al., "
    "2022, arXiv 2209.11895); the repetition begins anywhere, so that no fixed distance gives "
    "the answer",
    licence="generated",
    controls={"window": {"window": 16}},
)
class Induction(LabelledTask):
    """Every symbol is a key and a value; splits are drawn from 64! / 16! sequences."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Repeats(length=12, symbols=16),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Repeats(length=48, symbols=64),
            Width(dim=32, heads=1, layers=2, short_convolution=3),
            Training(600, 64, 4e-3),
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

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the symbol `length` tokens before the label."""
        length = self.recipe.data.length
        asked = batch["targets"][:, length:]
        right = batch["inputs"][:, :length].roll(-1, dims=1) == asked
        return {"fixed distance": right.sum(dim=1) / (asked != IGNORED).sum(dim=1)}
