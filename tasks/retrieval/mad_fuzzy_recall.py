"""Fuzzy in-context recall of MAD: keys and values are words of one to three tokens."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import share
from cab.tasks.retrieval import _mad
from cab.tasks.retrieval._labelled import Labelled, most_frequent, recipe


@dataclass(frozen=True)
class Words:
    """Sequences of `length` tokens, in which keys and values have up to so many tokens.

    Of V tokens the last pads; of the others the first half, rounded down, spell keys and the
    second values. Each sequence draws its pairs from a pool of so many, or, with 0, from all that
    can be spelt. published takes the generator of the paper's code.
    """

    length: int
    vocabulary: int
    key_size: int = 3
    value_size: int = 3
    pool: int = 0
    published: bool = False

    def __post_init__(self) -> None:
        if self.length + 1 < 2 * (self.key_size + self.value_size):
            raise ValueError("fuzzy recall needs room for two pairs of the largest size")
        if max(self.key_size, self.value_size) > (self.vocabulary - 1) // 2:
            raise ValueError("fuzzy recall spells with distinct tokens: enlarge the vocabulary")
        if self.published and self.pool:
            raise ValueError("the published generator draws from all words: pool must be 0")


def _words(
    first: int, stop: int, sizes: Tensor, largest: int, generator: torch.Generator
) -> Tensor:
    """Return words of distinct tokens in [first, stop), (B, P, largest), -1 after their ends."""
    drawn = torch.rand(*sizes.shape, stop - first, generator=generator).argsort(dim=2)
    words = first + drawn[:, :, :largest]
    return words.masked_fill(torch.arange(largest) >= sizes[:, :, None], -1)


def generate(
    params: Words, count: int, generator: torch.Generator, *, train: bool
) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    Pairs follow each other as long as the last, which repeats one of them, fits for sure; before
    the first stand padding tokens. A word's size is uniform, but in tests keys have the largest.
    A key that comes again has the value that it had first, and then its tokens are labels, each at
    the token before it.
    """
    symbols, largest_key, largest_value = params.vocabulary - 1, params.key_size, params.value_size
    half, slots = symbols // 2, params.length // 2
    kinds = params.pool or slots
    smallest = 1 if train else largest_key
    key_sizes = torch.randint(smallest, largest_key + 1, (count, kinds), generator=generator)
    value_sizes = torch.randint(1, largest_value + 1, (count, kinds), generator=generator)
    keys = _words(0, half, key_sizes, largest_key, generator)
    values = _words(half, symbols, value_sizes, largest_value, generator)
    if params.pool:
        drawn = torch.randint(kinds, (count, slots, 1), generator=generator)
        keys = keys.gather(1, drawn.expand(-1, -1, largest_key))
        values = values.gather(1, drawn.expand(-1, -1, largest_value))
    same = (keys[:, :, None] == keys[:, None, :]).all(dim=3)
    first = same.int().argmax(dim=2)
    values = values.gather(1, first[:, :, None].expand_as(values))
    seen = first < torch.arange(slots)
    ends = ((keys >= 0).sum(dim=2) + (values >= 0).sum(dim=2)).cumsum(dim=1)
    fitting = (ends <= params.length + 1 - largest_key - largest_value).sum(dim=1, keepdim=True)
    again = (torch.rand(count, 1, generator=generator) * fitting).long()
    pairs = torch.cat((keys, values), dim=2)
    width = pairs.shape[2]
    last = pairs.gather(1, again[:, :, None].expand(-1, -1, width))
    pairs = pairs.scatter(1, fitting[:, :, None].expand(-1, -1, width), last)
    seen = seen.scatter(1, fitting, True)
    there = (pairs >= 0) & (torch.arange(slots) <= fitting)[:, :, None]
    is_label = there & seen[:, :, None] & (torch.arange(width) >= largest_key)
    # Each token's place, counted from the end, so that the padding comes first; what is not
    # there goes to a place of its own, which is cut off.
    flat = there.flatten(1)
    place = params.length - (flat.flip(1).cumsum(dim=1).flip(1) - 1)
    place = place.masked_fill(~flat, params.length + 1)
    tokens = torch.full((count, params.length + 2), symbols)
    tokens.scatter_(1, place, pairs.flatten(1))
    labels = torch.full_like(tokens, IGNORED)
    labels.scatter_(1, place, pairs.masked_fill(~is_label, IGNORED).flatten(1))
    return tokens[:, : params.length], labels[:, 1 : params.length + 1]


def _recipe(params: Words, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.vocabulary}
    return recipe(params, width, training, examples, **sizes)


PAPER_WIDTH = Width(dim=128, heads=1, layers=2, short_convolution=3)
PAPER_TRAINING = Training(20_000, 128, 5e-4, weight_decay=0.1)
"""200 epochs of 12,800 examples; its grid has three learning rates and two weight decays."""
STANDARD = Words(length=128, vocabulary=16)


@register_task(
    name="mad-fuzzy-recall",
    domain="retrieval",
    pattern="cs",
    summary="recall values of up to three tokens by earlier keys of three tokens",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.125,
    version=1,
    length="128 tokens",
    source="Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv "
    "2403.17844), with the same labels in training as in the paper's test; in quick each "
    "sequence has a pool of 16 pairs, since few of all pairs would appear twice",
    licence="generated",
    controls={"window": {"window": 8}},
)
class MadFuzzyRecall(Labelled):
    """Splits are draws from more than 10^30 sequences.

    In the paper an example asks for about four tokens, so that its test needs many examples; a
    pool of pairs lets keys come again.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Words(length=24, vocabulary=12, key_size=2, value_size=2, pool=3),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Words(length=128, vocabulary=16, pool=16),
            Width(dim=64, heads=2, layers=2, short_convolution=3),
            Training(400, 32, 4e-3),
            500,
        ),
        "standard": _recipe(STANDARD, PAPER_WIDTH, PAPER_TRAINING, 1280),
        "full": _recipe(replace(STANDARD, published=True), PAPER_WIDTH, PAPER_TRAINING, 1280),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators, and training has shorter keys too."""
        params: Words = self.recipe.data
        if params.published:
            instance = partial(
                _mad.fuzzy_recall,
                length=params.length,
                vocabulary=params.vocabulary,
                key_size=params.key_size,
                value_size=params.value_size,
                train=split == "train",
            )
            inputs, targets = _mad.draw_published(instance, count, generator)
        else:
            inputs, targets = generate(params, count, generator, train=split == "train")
        return {"inputs": inputs, "targets": targets}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the most frequent token of the values read would score as every answer."""
        params: Words = self.recipe.data
        inputs, targets = batch["inputs"], batch["targets"]
        half, symbols = (params.vocabulary - 1) // 2, params.vocabulary - 1
        spells = (inputs >= half) & (inputs < symbols)
        guess = most_frequent(inputs, spells, symbols)
        return {"most frequent": share(targets == guess, targets != IGNORED)}
