"""Find where each word of a stream begins."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.query_reader import QueryReader, QueryReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, reading, standard
from cab.tasks.speech._recordings import (
    WORDS_IN_ALL,
    Hearing,
    Sayings,
    SpokenTask,
    distinct,
    join,
    pick,
)


def recipe(
    levels: tuple[Sayings, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    """Size the backbone for streams of the most words."""
    hardest = levels[-1]
    length = hardest.words * hardest.hearing.longest
    model = QueryReaderConfig(
        width, hardest.hearing.features, length, questions=WORDS_IN_ALL, answers=length
    )
    return Recipe(
        hardest,
        model,
        training,
        examples,
        examples,
        levels=levels if len(levels) > 1 else (),
        rates=rates,
    )


@register_task(
    name="align",
    domain="speech",
    pattern="nc",
    summary="find the beginning of each of eight words of a synthetic voice",
    backbone="query reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=2,
    length="8 queries, up to 48 keys of 100 ms",
    source="a seeded source-filter voice with the vowels of Peterson and Barney (1952); log mel "
    "of 40 bands every 12.5 ms, eight frames a token",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.6,
            "seeds": 3,
            "measured": {"mean": 0.286, "none": 0.275, "softmax": 0.986, "beginning": 0.275},
            "floors": (0.5325, 0.3406, 0.2658, 0.1667, 0.125),
        },
        "standard": {"margin": 0.6, "seeds": 3},
    },
)
class Align(SpokenTask):
    """Different words of one speaker; the answer to each word is its first token.

    The levels are the number of words. An answer is right if it is off by at most one token. Only
    attention to the stream tells a question where its word is, and a mean over the stream mixes
    the places of all words. Test speakers are not in the training split.
    """

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            tuple(Sayings(words, Hearing(stack=8, longest=6)) for words in (2, 3)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": recipe(
            tuple(Sayings(words, Hearing(stack=8, longest=6)) for words in (2, 3, 4, 6, 8)),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(700, 32, 3e-3),
            200,
            rates=(1.5e-3, 3e-3, 6e-3),
        ),
        "standard": standard(
            recipe(
                tuple(Sayings(words, Hearing(stack=2, longest=24)) for words in (2, 4, 6, 8, 10)),
                reading(DEEP),
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Join different words of a random speaker, and ask for them in random order."""
        recordings, params = self._recordings[split], self.recipe.data
        words = distinct(count, params.words, WORDS_IN_ALL, generator)
        stream = join(recordings, pick(recordings, words, generator))
        order = distinct(count, params.words, params.words, generator)
        return {
            "source": stream.tokens,
            "source_padding": stream.padding,
            "inputs": words.gather(1, order),
            "targets": stream.begins.gather(1, order),
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the query reader."""
        return QueryReader(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy over the tokens at which a word can begin."""
        logits = model(batch["source"], batch["inputs"], batch["source_padding"])
        return F.cross_entropy(logits.mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of onsets found within a token, and of those found exactly."""
        logits = model(batch["source"], batch["inputs"], batch["source_padding"])
        off = (logits.argmax(dim=-1) - batch["targets"]).abs()
        return {
            "accuracy": (off <= 1).float().mean(dim=1),
            "exact": (off == 0).float().mean(dim=1),
        }

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the beginning of the stream as every answer."""
        return {"beginning": (batch["targets"] <= 1).float().mean(dim=1)}
