"""At a repeated word of a stream, recall the word that followed it the first time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.frame_reader import FrameReader, FrameReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
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
    """Size the backbone for streams of these words, and all but the last of them again."""
    top = levels[-1]
    model = FrameReaderConfig(
        width,
        features=top.hearing.features,
        outputs=WORDS_IN_ALL,
        length=(2 * top.words - 1) * top.hearing.longest,
        causal=True,
    )
    several = levels if len(levels) > 1 else ()
    return Recipe(top, model, training, examples, examples, levels=several, rates=rates)


@register_task(
    name="spoken-recall",
    domain="speech",
    pattern="cs",
    summary="at a repeated word of a synthetic voice, recall the word that followed it before",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=5,
    length="up to 90 tokens of 100 ms",
    source="a seeded source-filter voice with the vowels of Peterson and Barney (1952); log mel "
    "of 40 bands every 12.5 ms, eight frames a token",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.2,
            "seeds": 3,
            "measured": {
                "mean": 0.452,
                "none": 0.199,
                "softmax": 0.978,
                "window": 0.638,
                "last new word": 0.432,
            },
            "floors": (1.0, 0.3896, 0.2717, 0.16),
        },
        "standard": {"margin": 0.2, "seeds": 3},
    },
)
class SpokenRecall(SpokenTask):
    """Different words of one speaker, then all but the last again, in random order.

    The label is at the last token of each repeated word, which is another recording. The levels
    are the numbers of different words. Which word followed another is drawn for each stream, so it
    can only be found where the word was said first. Test speakers are not in the training split.
    """

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            tuple(Sayings(words, Hearing(stack=8, longest=6)) for words in (2, 3)),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 8, 3e-3),
            20,
        ),
        "quick": recipe(
            tuple(Sayings(words, Hearing(stack=8, longest=6)) for words in (2, 4, 5, 8)),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(1500, 16, 2e-3),
            150,
            rates=(1e-3, 2e-3, 4e-3),
        ),
        "standard": standard(
            recipe(
                tuple(Sayings(words, Hearing(stack=2, longest=24)) for words in (2, 4, 6, 10)),
                reading(DEEP),
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Join the words of a random speaker, label the last token of those said again."""
        recordings, params = self._recordings[split], self.recipe.data
        words = distinct(count, params.words, WORDS_IN_ALL, generator)
        order = distinct(count, params.words - 1, params.words - 1, generator)
        said = torch.cat((words, words.gather(1, order)), dim=1)
        stream = join(recordings, pick(recordings, said, generator))
        asked = stream.ends[:, params.words :] - 1
        targets = torch.full(stream.padding.shape, IGNORED)
        return {
            "inputs": stream.tokens,
            "padding": stream.padding,
            "targets": targets.scatter_(1, asked, words.gather(1, order + 1)),
            "last": words[:, -1:],
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the causal frame reader."""
        return FrameReader(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy at the labels."""
        logits = model(batch["inputs"], batch["padding"])
        return F.cross_entropy(logits.mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each stream's labels that are right."""
        answers = model(batch["inputs"], batch["padding"]).argmax(dim=-1)
        return {"accuracy": _share_right(answers, batch)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the last new word as every answer."""
        return {"last new word": _share_right(batch["last"], batch)}

    def tokens(self, batch: Batch) -> int:
        """Count the tokens, padding left out."""
        return int((~batch["padding"]).sum())


def _share_right(answers: Tensor, batch: Batch) -> Tensor:
    asked = batch["targets"] != IGNORED
    return ((answers == batch["targets"]) & asked).sum(dim=1) / asked.sum(dim=1)
