"""Name the word that follows each cue word in a stream."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.frame_reader import FrameReader, FrameReaderConfig
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
    """Size the backbone for streams of the most words, with a question for each but the last."""
    hardest = levels[-1]
    model = FrameReaderConfig(
        width,
        features=hardest.hearing.features + WORDS_IN_ALL,
        outputs=WORDS_IN_ALL,
        length=hardest.words - 1 + hardest.words * hardest.hearing.longest,
        causal=False,
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
    name="after-word",
    domain="speech",
    pattern="ns",
    summary="name the word that follows each of six cue words of a synthetic voice",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=3,
    length="up to 48 tokens: 6 questions and 42 of 100 ms",
    source="a seeded source-filter voice with the vowels of Peterson and Barney (1952); log mel "
    "of 40 bands every 12.5 ms, eight frames a token",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.12,
            "seeds": 3,
            "measured": {
                "mean": 0.399,
                "none": 0.359,
                "softmax": 0.96,
                "window": 0.793,
                "last word": 0.312,
            },
            "floors": (0.7175, 0.4289, 0.2883, 0.1725),
        },
        "standard": {"margin": 0.12, "seeds": 3},
    },
)
class AfterWord(SpokenTask):
    """Different words of one speaker; the cues, all words but the last, come first.

    The levels are the number of words. A cue has to find its word in the stream and then the one
    behind it, while a mean over the stream has lost the order of the words. Test speakers are not
    in the training split.
    """

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            tuple(Sayings(words, Hearing(stack=8, longest=6)) for words in (3, 4)),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": recipe(
            tuple(Sayings(words, Hearing(stack=8, longest=6)) for words in (3, 4, 5, 7)),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(1300, 32, 3e-3),
            200,
            rates=(1.5e-3, 3e-3, 6e-3),
        ),
        "standard": standard(
            recipe(
                tuple(Sayings(words, Hearing(stack=2, longest=24)) for words in (3, 5, 7, 10)),
                reading(DEEP),
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Join different words of a random speaker behind the cues, which are in random order.

        A cue is a token without sound whose last ten features tell the word.
        """
        recordings, params = self._recordings[split], self.recipe.data
        words = distinct(count, params.words, WORDS_IN_ALL, generator)
        stream = join(recordings, pick(recordings, words, generator))
        order = distinct(count, params.words - 1, params.words - 1, generator)
        named = F.one_hot(words.gather(1, order), WORDS_IN_ALL).float()
        cues = F.pad(named, (params.hearing.features, 0))
        return {
            "inputs": torch.cat((cues, F.pad(stream.tokens, (0, WORDS_IN_ALL))), dim=1),
            "padding": F.pad(stream.padding, (params.words - 1, 0)),
            "targets": words.gather(1, order + 1),
            "last": words[:, -1:],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the frame reader."""
        return FrameReader(self.recipe.model, slots)

    def _answers(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["inputs"], batch["padding"])[:, : batch["targets"].shape[1]]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy at the cues."""
        return F.cross_entropy(self._answers(model, batch).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of cues with the right answer."""
        right = self._answers(model, batch).argmax(dim=-1) == batch["targets"]
        return {"accuracy": right.float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the last word as every answer."""
        return {"last word": (batch["targets"] == batch["last"]).float().mean(dim=1)}

    def tokens(self, batch: Batch) -> int:
        """Count the tokens, padding left out."""
        return int((~batch["padding"]).sum())
