"""Needle in a haystack of RULER: recall all values of one key from several needles."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.retrieval._haystack import (
    ASK,
    MARK,
    Needles,
    SetTask,
    distinct,
    found,
    hide,
    last_of_kind,
)
from cab.tasks.retrieval._labelled import recipe


@dataclass(frozen=True)
class Several(Needles):
    """Needles of which `answers` share the key that is asked for; the others have their own."""

    answers: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.answers <= self.needles or self.queries != 1:
            raise ValueError("answers must be at least 1 and at most the needles, queries 1")


def generate(params: Several, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs (count, length) and answers (count, answers).

    A needle is the mark, a key and a value; all values are distinct. The first `answers` needles
    take one key, the others keys of their own, and all are put in random order. At the end come a
    token that asks and the key.
    """
    size, answers = params.needles, params.answers
    keys = params.first_key + distinct(count, size - answers + 1, params.keys, generator)
    values = params.first_value + distinct(count, size, params.values, generator)
    asked = keys[:, :1]
    keys = torch.cat((asked.expand(-1, answers), keys[:, 1:]), dim=1)
    needles = torch.stack((torch.full_like(keys, MARK), keys, values), dim=2)
    order = distinct(count, size, size, generator)
    needles = needles.gather(1, order[:, :, None].expand(-1, -1, 3))
    body = hide(needles, params.length - 2, params.filler, generator)
    inputs = torch.cat((body, torch.full((count, 1), ASK), asked), dim=1)
    return inputs, values[:, :answers]


def _recipe(params: Several, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.vocabulary}
    return recipe(params, width, training, examples, **sizes)


@register_task(
    name="ruler-niah-multivalue",
    domain="retrieval",
    pattern="cs",
    summary="recall all 4 values of one key among 16 needles in 128 tokens",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.125,
    version=1,
    length="128 tokens",
    source="niah_multivalue of RULER (Hsieh et al., 2024, arXiv 2404.06654), in synthetic tokens "
    "and with needles of other keys",
    licence="generated",
    controls={"window": {"window": 8}},
)
class RulerNiahMultivalue(SetTask):
    """Chance is a draw among the values. Splits are draws from more than 10^100 sequences."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Several(length=16, needles=4, keys=4, values=4, filler=4, answers=2),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Several(length=128, needles=16, keys=32, values=32, filler=16),
            Width(dim=64, heads=1, layers=2, short_convolution=3),
            Training(600, 32, 4e-3),
            500,
        ),
        "standard": _recipe(
            Several(length=4096, needles=16, keys=1024, values=1024, filler=256),
            Width(dim=256, heads=4, layers=4, expansion=4, short_convolution=3),
            Training(10_000, 8, 1e-3),
            500,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, answers = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "answers": answers}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the last values, as many as are asked for, would score."""
        params: Several = self.recipe.data
        is_value = batch["inputs"] >= params.first_value
        last = last_of_kind(batch["inputs"], is_value, params.answers)
        return {"last values": found(last, batch["answers"]).float().mean(dim=1)}
