"""A task of milliseconds with two levels and three learning rates, for `--include` in tests."""

from dataclasses import dataclass

import torch
from torch import nn

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Recipe, Task, Training
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class Model:
    """The network has its width only."""

    width: Width


@dataclass(frozen=True)
class Data:
    """How many tokens an example has."""

    length: int


class Net(nn.Module):
    """One slot, to whose output a bias is added."""

    def __init__(self, width, slots):
        super().__init__()
        self.slot = slots.fill("decoder_self", Pattern.CS, width, 4)
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.slot(x) + self.bias


@register_task(
    name="searched",
    domain="retrieval",
    pattern="cs",
    summary="make noise into ones",
    version=1,
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    length="4 numbers",
)
class Searched(Task):
    """The accuracy is near 1 where the outputs are near 1."""

    recipes = {  # noqa: RUF012
        "quick": Recipe(
            Data(4),
            Model(Width(dim=4, heads=1, layers=1)),
            Training(30, 2, 0.02),
            valid_examples=3,
            test_examples=5,
            levels=(Data(2), Data(4)),
            rates=(0.0001, 0.02, 0.05),
        )
    }

    def draw(self, split, count, generator):
        return {"inputs": torch.randn(count, self.recipe.data.length, 4, generator=generator)}

    def build(self, slots):
        return Net(self.recipe.model.width, slots)

    def loss(self, model, batch):
        return (model(batch["inputs"]) - 1).square().mean()

    def evaluate(self, model, batch):
        away = (model(batch["inputs"]) - 1).square().mean((1, 2))
        return {"accuracy": torch.exp(-away)}
