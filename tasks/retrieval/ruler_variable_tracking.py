"""Variable tracking of RULER: find all variables with a value, through chains of copies."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.retrieval._haystack import (
    ASK,
    FIRST_FILLER,
    MARK,
    SetTask,
    distinct,
    found,
    hide,
    last_of_kind,
)
from cab.tasks.retrieval._labelled import recipe


@dataclass(frozen=True)
class Chains:
    """Sequences of `length` tokens that hold `chains` chains of `hops` copies among filler.

    `filler`, `variables` and `values` are how many different tokens of a kind there are.
    """

    length: int
    chains: int
    hops: int
    variables: int
    values: int
    filler: int

    def __post_init__(self) -> None:
        if self.length < 3 * self.statements + 2:
            raise ValueError("a statement takes 3 tokens and the question 2: enlarge the length")
        if self.hops < 0 or not 1 <= self.chains <= self.values:
            raise ValueError("chains must be from 1 to the number of values, hops at least 0")
        if self.statements > self.variables or self.filler < 1:
            raise ValueError("every statement needs a variable of its own, filler at least one")

    @property
    def statements(self) -> int:
        """How many assignments there are."""
        return self.chains * (self.hops + 1)

    @property
    def first_variable(self) -> int:
        """The smallest variable."""
        return FIRST_FILLER + self.filler

    @property
    def first_value(self) -> int:
        """The smallest value."""
        return self.first_variable + self.variables

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.first_value + self.values


def generate(params: Chains, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs (count, length) and answers (count, hops + 1).

    A statement is the mark, a new variable, and what it is set to: a value in the first of a
    chain, the variable before in the others. Chains have distinct values; their statements keep
    their order and stand mixed with each other's, in every order alike. At the end come a token
    that asks and one of the values; the answers are all variables of its chain.
    """
    chains, links = params.chains, params.hops + 1
    variables = params.first_variable + distinct(
        count, params.statements, params.variables, generator
    )
    variables = variables.view(count, chains, links)
    values = params.first_value + distinct(count, chains, params.values, generator)
    set_to = torch.cat((values[:, :, None], variables[:, :, :-1]), dim=2)
    statements = torch.stack((torch.full_like(variables, MARK), variables, set_to), dim=3)
    # Ranks from a random order of all, sorted within a chain.
    rank = distinct(count, params.statements, params.statements, generator)
    order = rank.view(count, chains, links).sort(dim=2).values.flatten(1).argsort(dim=1)
    statements = statements.flatten(1, 2).gather(1, order[:, :, None].expand(-1, -1, 3))
    body = hide(statements, params.length - 2, params.filler, generator)
    # The chains are alike, so that asking for the first is asking for any.
    inputs = torch.cat((body, torch.full((count, 1), ASK), values[:, :1]), dim=1)
    return inputs, variables[:, 0]


def _recipe(params: Chains, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.vocabulary}
    return recipe(params, width, training, examples, **sizes)


@register_task(
    name="ruler-variable-tracking",
    domain="retrieval",
    pattern="cs",
    summary="find the 2 variables of one of 6 chains of copies, in 64 tokens",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=1,
    length="64 tokens",
    source="variable tracking (vt) of RULER (Hsieh et al., 2024, arXiv 2404.06654), in synthetic "
    "tokens; in quick with fewer hops and with chains of other values",
    licence="generated",
    controls={"window": {"window": 8}},
)
class RulerVariableTracking(SetTask):
    """Chance is a draw among the variables. Splits are draws from more than 10^40 sequences.

    With a single chain, the paper's setting, all variables in the text are the answer.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Chains(length=24, chains=2, hops=1, variables=6, values=3, filler=4),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Chains(length=64, chains=6, hops=1, variables=32, values=16, filler=8),
            Width(dim=64, heads=2, layers=3, short_convolution=3),
            Training(700, 32, 4e-3),
            500,
        ),
        "standard": _recipe(
            Chains(length=4096, chains=1, hops=4, variables=1024, values=1024, filler=256),
            Width(dim=256, heads=4, layers=6, expansion=4, short_convolution=3),
            Training(10_000, 8, 1e-3),
            500,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, answers = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "answers": answers}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the variables of the last statements would score."""
        params: Chains = self.recipe.data
        inputs = batch["inputs"]
        is_set = torch.nn.functional.pad(inputs[:, :-1] == MARK, (1, 0))
        last = last_of_kind(inputs, is_set, params.hops + 1)
        return {"last variables": found(last, batch["answers"]).float().mean(dim=1)}
