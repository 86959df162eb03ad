"""Common words extraction of RULER: find the most frequent words of a shuffled list."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.retrieval._haystack import SetTask, distinct, found, shuffled_runs
from cab.tasks.retrieval._labelled import recipe


@dataclass(frozen=True)
class Counts:
    """Lists of `common` words, each `often` times, and `others`, each `seldom` times.

    Drawn out of `words`; one token more asks.
    """

    common: int
    often: int
    others: int
    seldom: int
    words: int

    def __post_init__(self) -> None:
        if not 1 <= self.seldom < self.often or self.common < 1:
            raise ValueError("common words must appear more often than others")
        if self.common + self.others > self.words:
            raise ValueError("common and other words must be distinct: increase words")

    @property
    def length(self) -> int:
        """How many tokens a sequence has."""
        return self.common * self.often + self.others * self.seldom + 1


def generate(params: Counts, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs (count, length), the last of which asks, and answers (count, common).

    The words are tokens from 1; every order of the list is equally likely.
    """
    chosen = 1 + distinct(count, params.common + params.others, params.words, generator)
    runs = [params.often] * params.common + [params.seldom] * params.others
    listed = shuffled_runs(chosen, runs, generator)
    inputs = torch.cat((listed, torch.zeros(count, 1, dtype=torch.long)), dim=1)
    return inputs, chosen[:, : params.common]


def _recipe(params: Counts, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.words + 1}
    return recipe(params, width, training, examples, **sizes)


@register_task(
    name="ruler-common-words",
    domain="retrieval",
    pattern="cs",
    summary="find the 6 words that appear five times in a list of 96; the others appear three "
    "times",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.125,
    version=1,
    length="97 tokens",
    source="common words extraction (cwe) of RULER (Hsieh et al., 2024, arXiv 2404.06654), words "
    "as tokens",
    licence="generated",
    controls={"window": {"window": 16}},
)
class RulerCommonWords(SetTask):
    """A uniform average of the list already contains the answer, as the control `mean` shows.

    Chance is a draw among all words. Splits are draws from more than 10^80 lists.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Counts(common=2, often=4, others=4, seldom=1, words=8),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Counts(common=6, often=5, others=22, seldom=3, words=48),
            Width(dim=64, heads=2, layers=2, short_convolution=3),
            Training(300, 32, 4e-3),
            500,
        ),
        "standard": _recipe(
            Counts(common=10, often=30, others=1265, seldom=3, words=2048),
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
        """Return what the last words, as many as are asked for, would score."""
        answers = batch["answers"]
        last = batch["inputs"][:, -1 - answers.shape[1] : -1]
        return {"last words": found(last, answers).float().mean(dim=1)}
