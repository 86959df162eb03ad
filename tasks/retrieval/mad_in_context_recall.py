"""In-context recall of MAD: recall the value of a key that appeared before."""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import share
from cab.tasks.retrieval import _mad
from cab.tasks.retrieval._labelled import Labelled, recipe


@dataclass(frozen=True)
class Pairs:
    """Sequences of length N, read as N / 2 pairs, over V tokens.

    The last `noise` tokens are noise, of which a fraction of the pairs is made; of the others the
    first half are keys and the second values. published takes the generator of the paper's code.
    """

    length: int
    vocabulary: int
    noise: int = 0
    fraction: float = 0.0
    published: bool = False

    def __post_init__(self) -> None:
        if self.length % 2 or self.length < 4 or self.vocabulary - self.noise < 4:
            raise ValueError(
                "in-context recall needs an even length >= 4, vocabulary - noise >= 4"
            )
        if not 0 <= self.fraction < 1 or (self.fraction > 0) != (self.noise > 0):
            raise ValueError("fraction is from 0 to below 1, and above 0 where there is noise")

    @property
    def symbols(self) -> int:
        """How many tokens are keys or values."""
        return self.vocabulary - self.noise


def generate(params: Pairs, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length - 1).

    Each sequence has a map of its own from every key to a value, drawn with replacement. A pair
    is a uniformly drawn key and its value, or, where there is noise, two noise tokens; one pair,
    drawn uniformly, is not noise, nor is the last, whose key is drawn from those that came before.
    The label at a key that came before is its value; the last value is cut off.
    """
    pairs, symbols = params.length // 2, params.symbols
    half = symbols // 2
    keys = torch.randint(half, (count, pairs), generator=generator)
    value_of = torch.randint(half, symbols, (count, half), generator=generator)
    noisy = torch.rand(count, pairs, generator=generator) < params.fraction
    clean = torch.randint(pairs - 1, (count, 1), generator=generator)
    noisy.scatter_(1, clean, False)
    noisy[:, -1] = False
    before = F.one_hot(keys, half) * ~noisy[:, :, None]
    keys[:, -1:] = torch.multinomial(
        before[:, :-1].sum(dim=1).clamp(max=1).float(), 1, generator=generator
    )
    times = F.one_hot(keys, half) * ~noisy[:, :, None]
    seen = (times.cumsum(dim=1) - times).gather(2, keys[:, :, None]).squeeze(2) > 0
    values = value_of.gather(1, keys)
    tokens = torch.stack((keys, values), dim=2)
    noise = symbols + torch.randint(max(1, params.noise), tokens.shape, generator=generator)
    tokens = torch.where(noisy[:, :, None], noise, tokens)
    labels = torch.full_like(tokens, IGNORED)
    labels[:, :, 0] = values.masked_fill(noisy | ~seen, IGNORED)
    return tokens.flatten(1)[:, :-1], labels.flatten(1)[:, :-1]


def pairs_recipe(params: Pairs, width: Width, training: Training, examples: int) -> Recipe:
    """Return a recipe whose decoder fits the sequences."""
    return recipe(
        params,
        width,
        training,
        examples,
        length=params.length - 1,
        vocabulary=params.vocabulary,
    )


PAPER_WIDTH = Width(dim=128, heads=1, layers=2, short_convolution=3)
PAPER_TRAINING = Training(20_000, 128, 5e-4, weight_decay=0.1)
"""200 epochs of 12,800 examples; its grid has three learning rates and two weight decays."""
STANDARD = Pairs(length=128, vocabulary=16)


@register_task(
    name="mad-in-context-recall",
    domain="retrieval",
    pattern="cs",
    summary="recall the value of every key that appeared before, out of 32 keys",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.03125,
    version=1,
    length="127 tokens",
    source="Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv "
    "2403.17844), with the same labels in training as in the paper's test",
    licence="generated",
    controls={"window": {"window": 8}},
)
class MadInContextRecall(Labelled):
    """Splits are draws from more than 8^64 sequences.

    The paper trains on every next token, including keys and noise, and tests on the labels used
    here; so does `published`.
    """

    recipes = {  # noqa: RUF012
        "smoke": pairs_recipe(
            Pairs(length=16, vocabulary=8),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": pairs_recipe(
            Pairs(length=128, vocabulary=64),
            Width(dim=32, heads=1, layers=2, short_convolution=3),
            Training(350, 32, 4e-3),
            500,
        ),
        "standard": pairs_recipe(STANDARD, PAPER_WIDTH, PAPER_TRAINING, 1280),
        "full": pairs_recipe(replace(STANDARD, published=True), PAPER_WIDTH, PAPER_TRAINING, 1280),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Pairs = self.recipe.data
        if params.published:
            instance = partial(
                _mad.recall,
                length=params.length,
                vocabulary=params.vocabulary,
                noise=params.noise,
                fraction=params.fraction,
                train=split == "train",
            )
            inputs, targets = _mad.draw_published(instance, count, generator)
        else:
            inputs, targets = generate(params, count, generator)
        return {"inputs": inputs, "targets": targets}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the last value read, and the one read most often so far, would score."""
        params: Pairs = self.recipe.data
        inputs, targets = batch["inputs"], batch["targets"]
        half = params.symbols // 2
        is_value = (inputs >= half) & (inputs < params.symbols)
        place = torch.arange(inputs.shape[1]).expand_as(inputs)
        latest = place.masked_fill(~is_value, 0).cummax(dim=1).values
        values = F.one_hot((inputs - half).clamp(0, params.symbols - half - 1))
        counts = (values * is_value[:, :, None]).cumsum(dim=1)
        asked = targets != IGNORED
        return {
            "last value": share(inputs.gather(1, latest) == targets, asked),
            "most frequent so far": share(counts.argmax(dim=2) + half == targets, asked),
        }
