"""Frequent words extraction of RULER: the second to fourth most frequent word of a list."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks.retrieval._haystack import SetTask, distinct, found, shuffled_runs
from cab.tasks.retrieval._labelled import recipe

ANSWERS = 3


@dataclass(frozen=True)
class Zipf:
    r"""Lists of `listed` tokens, whose k-th most frequent kind has a share of k^-alpha.

    .. math:: c_k = \lfloor n k^{-\alpha} / \sum_{j \le R} j^{-\alpha} \rfloor, \quad k = 2 ... R

    n is `listed`, R is `ranks`; kind 1, a filler that is always the same, takes the rest. The
    words of the other kinds are drawn out of `words`.
    """

    listed: int
    ranks: int
    words: int
    alpha: float = 2.0

    def __post_init__(self) -> None:
        if not ANSWERS < self.ranks - 1 <= self.words:
            raise ValueError("there must be more ranks than answers, and words for all of them")
        runs = self.runs
        if len(set(runs[: ANSWERS + 2])) < ANSWERS + 2 or runs[ANSWERS] < 1:
            raise ValueError(
                "the answers are not more frequent than the next word: increase the list"
            )

    @property
    def runs(self) -> list[int]:
        """How often each kind stands in the list, the filler first."""
        weights = [rank**-self.alpha for rank in range(1, self.ranks + 1)]
        runs = [int(self.listed * weight / sum(weights)) for weight in weights[1:]]
        return [self.listed - sum(runs), *runs]

    @property
    def length(self) -> int:
        """How many tokens a sequence has: the list and one that asks."""
        return self.listed + 1


def generate(params: Zipf, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs (count, length), the last of which asks, and answers (count, 3).

    Token 0 asks, token 1 is the filler and words are tokens from 2. The counts are those of the
    law and not drawn, so that the answers are sure; every order is equally likely.
    """
    words = 2 + distinct(count, params.ranks - 1, params.words, generator)
    kinds = torch.cat((torch.ones(count, 1, dtype=torch.long), words), dim=1)
    listed = shuffled_runs(kinds, params.runs, generator)
    inputs = torch.cat((listed, torch.zeros(count, 1, dtype=torch.long)), dim=1)
    return inputs, words[:, :ANSWERS]


def _recipe(params: Zipf, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.words + 2}
    return recipe(params, width, training, examples, **sizes)


@register_task(
    name="ruler-frequent-words",
    domain="retrieval",
    pattern="cs",
    summary="find the second to fourth most frequent of 12 words in 128, by Zipf's law",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.046875,
    version=1,
    length="129 tokens",
    source="frequent words extraction (fwe) of RULER (Hsieh et al., 2024, arXiv 2404.06654), "
    "words as tokens",
    licence="generated",
    controls={"window": {"window": 16}},
)
class RulerFrequentWords(SetTask):
    """A uniform average of the list already contains the answer, as the control `mean` shows.

    Chance is a draw among all words. Splits are draws from more than 10^60 lists.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Zipf(listed=64, ranks=6, words=8),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Zipf(listed=128, ranks=12, words=64, alpha=1.5),
            Width(dim=64, heads=2, layers=2, short_convolution=3),
            Training(300, 32, 4e-3),
            500,
        ),
        "standard": _recipe(
            Zipf(listed=4095, ranks=82, words=1024),
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
        """Return what the last tokens of the list, as many as are asked for, would score."""
        last = batch["inputs"][:, -1 - ANSWERS : -1]
        return {"last words": found(last, batch["answers"]).float().mean(dim=1)}
