"""Shared parts of the RULER tasks: needles among filler, and answers that are sets of tokens.

What's the Real Context Size of Your Long-Context Language Models? (Hsieh et al., 2024, arXiv
2404.06654), in tokens of a small alphabet instead of English, so that a model can learn the task
from nothing. Answers are tokens; none is fed back.

Shapes: B examples, N tokens, K needles, Q queries, A answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cab.backbones.decoder import Decoder
from cab.backbones.slots import Slots
from cab.task import IGNORED, Batch, Split, Task
from cab.tasks._labels import share
from cab.tasks.retrieval._labelled import Labelled

MARK, ASK, FIRST_FILLER = 0, 1, 2
"""Tokens: one begins a needle, one a question, and filler begins at the third."""


@dataclass(frozen=True)
class Needles:
    """Sequences of `length` tokens that hold `needles` among filler; the last ones ask.

    `filler`, `keys` and `values` are how many different tokens of a kind there are; queries is
    how many of the needles are asked for.
    """

    length: int
    needles: int
    keys: int
    values: int
    filler: int
    queries: int = 1

    def __post_init__(self) -> None:
        if self.length < 3 * self.needles + 2 * self.queries:
            raise ValueError("a needle takes 3 tokens and a query 2: enlarge the length")
        if not 1 <= self.queries <= self.needles <= min(self.keys, self.values):
            raise ValueError("needles must be at least the queries, at most the keys and values")
        if self.filler < 1:
            raise ValueError("filler needs at least one token")

    @property
    def first_key(self) -> int:
        """The smallest key."""
        return FIRST_FILLER + self.filler

    @property
    def first_value(self) -> int:
        """The smallest value."""
        return self.first_key + self.keys

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.first_value + self.values


def distinct(count: int, chosen: int, population: int, generator: torch.Generator) -> Tensor:
    """Return (count, chosen) numbers below `population`, without repetition in a row."""
    return torch.rand(count, population, generator=generator).argsort(dim=1)[:, :chosen]


def hide(needles: Tensor, length: int, filler: int, generator: torch.Generator) -> Tensor:
    """Return (B, length) tokens of filler that hold needles (B, K, S) in their order.

    Every way to leave gaps between them is equally likely, and so is every filler token.
    """
    count, number, size = needles.shape
    text = FIRST_FILLER + torch.randint(filler, (count, length), generator=generator)
    # Which of the filler and needles, taken as one unit each, are needles.
    units = length - number * size + number
    start = distinct(count, number, units, generator).sort(dim=1).values
    start = start + torch.arange(number) * (size - 1)
    place = start[:, :, None] + torch.arange(size)
    return text.scatter(1, place.flatten(1), needles.flatten(1))


def generate(params: Needles, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    A needle is the mark, a key and its value; keys are distinct, and so are values. At the end
    come the queries, a token that asks and the key of a needle, drawn without repetition: the
    label there is the value.
    """
    keys = params.first_key + distinct(count, params.needles, params.keys, generator)
    values = params.first_value + distinct(count, params.needles, params.values, generator)
    needles = torch.stack((torch.full_like(keys, MARK), keys, values), dim=2)
    asked = distinct(count, params.queries, params.needles, generator)
    body = hide(needles, params.length - 2 * params.queries, params.filler, generator)
    questions = torch.full((count, params.queries, 2), ASK)
    questions[:, :, 1] = keys.gather(1, asked)
    inputs = torch.cat((body, questions.flatten(1)), dim=1)
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -2 * params.queries + 1 :: 2] = values.gather(1, asked)
    return inputs, labels


class NeedleTask(Labelled):
    """Needles in a haystack; the recipe's data is `Needles`."""

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the last needle's value would score as the answer to every query."""
        inputs, targets = batch["inputs"], batch["targets"]
        is_value = inputs >= self.recipe.data.first_value
        last = (is_value * torch.arange(inputs.shape[1])).argmax(dim=1, keepdim=True)
        guess = inputs.gather(1, last)
        return {"last value": share(targets == guess, targets != IGNORED)}


def found(given: Tensor, answers: Tensor) -> Tensor:
    """Return which answers are given: (B, G), (B, A) -> (B, A)."""
    return (given[:, :, None] == answers[:, None, :]).any(dim=1)


class SetTask(Task):
    """One question whose answer is a set: inputs (B, N), answers (B, A), distinct tokens.

    The model is trained to spread its probability over the answers evenly, and answers with the A
    likeliest tokens. Metrics: `accuracy`, the share of the set among them, which is RULER's own
    measure, and `exact`, 1 where it is the whole set.
    """

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy with the even distribution over the answers."""
        logits = model(batch["inputs"])[:, -1]
        return -logits.log_softmax(dim=1).gather(1, batch["answers"]).mean()

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's answers that is given, and whether all are."""
        answers = batch["answers"]
        given = model(batch["inputs"])[:, -1].topk(answers.shape[1], dim=1).indices
        right = found(given, answers)
        return {"accuracy": right.float().mean(dim=1), "exact": right.all(dim=1).float()}


def last_of_kind(inputs: Tensor, kind: Tensor, number: int) -> Tensor:
    """Return the last `number` tokens where `kind` holds: (B, N), (B, N) -> (B, number).

    Every row must hold as many.
    """
    place = torch.where(kind, torch.arange(inputs.shape[1]), -1)
    return inputs.gather(1, place.topk(number, dim=1).indices)


def shuffled_runs(tokens: Tensor, runs: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return (B, sum of runs) tokens in random order, the i-th of each row runs[i] times."""
    repeated = tokens.repeat_interleave(torch.tensor(runs), dim=1)
    order = torch.rand(*repeated.shape, generator=generator).argsort(dim=1)
    return repeated.gather(1, order)
