"""The most frequent value of every class, asked for where another value stands."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.frame_reader import FrameReader, FrameReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training
from cab.tasks._labels import LabelledTask
from cab.tasks._splits import draw_of_split
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, standard


@dataclass(frozen=True)
class Grouped:
    """`used` of the `classes` stand in an example, each with `agreeing + deviating` tokens.

    The agreeing tokens of a class have the same one of the `values`. The deviating ones have other
    values, all of them different.
    """

    used: int
    agreeing: int
    deviating: int
    classes: int
    values: int

    def __post_init__(self) -> None:
        if self.used > self.classes or self.agreeing < 2 or not 0 < self.deviating < self.values:
            raise ValueError(
                "most-frequent needs used <= classes, agreeing >= 2 and 0 < deviating < values"
            )

    @property
    def length(self) -> int:
        """Tokens per example."""
        return self.used * (self.agreeing + self.deviating)

    @property
    def features(self) -> int:
        """Numbers per token: its class and its value, one-hot."""
        return self.classes + self.values


def generate(params: Grouped, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return tokens (count, length, 2) and targets (count, length).

    Random classes and, for each of them, random values are drawn; a token is `class, value`. All
    tokens stand in uniform random order. The target of a deviating token is the value of the
    agreeing tokens of its class; the agreeing tokens have no target.
    """
    used, agreeing, deviating = params.used, params.agreeing, params.deviating
    classes = torch.rand(count, params.classes, generator=generator).argsort(dim=1)[:, :used, None]
    values = torch.rand(count, used, params.values, generator=generator).argsort(dim=2)
    common, others = values[..., :1], values[..., 1 : 1 + deviating]
    repeated = common.expand(-1, -1, agreeing)
    columns = (
        classes.expand(-1, -1, agreeing + deviating),
        torch.cat((repeated, others), dim=2),
        torch.cat((torch.full_like(repeated, IGNORED), common.expand_as(others)), dim=2),
    )
    order = torch.rand(count, params.length, generator=generator).argsort(dim=1)
    *token, targets = (column.flatten(1).gather(1, order) for column in columns)
    return torch.stack(token, dim=-1), targets


def _recipe(
    levels: tuple[Grouped, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    hardest = levels[-1]
    model = FrameReaderConfig(
        width,
        features=hardest.features,
        outputs=hardest.values,
        length=hardest.length,
        causal=False,
    )
    return Recipe(hardest, model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="most-frequent",
    domain="long_range",
    pattern="ns",
    summary="find the most frequent value of each of 32 classes among 256 tokens",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=1,
    length="256 tokens",
    source="the most frequent element (RASP, Weiss et al., 2021, arXiv 2106.06981; Yehudai et "
    "al., 2024, arXiv 2407.15160), here of each class",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.4,
            "seeds": 3,
            "measured": {
                "mean": 0.255,
                "none": 0.067,
                "softmax": 1.0,
                "window": 0.503,
                "most frequent value of all": 0.272,
            },
            "floors": (0.6283, 0.2342, 0.1913, 0.1646, 0.1433),
        },
        "standard": {"margin": 0.4, "seeds": 3},
    },
)
class MostFrequent(LabelledTask):
    """Aggregation: a token learns what its whole class agrees on, though it holds another value.

    The levels are the number of classes; 3 of the 8 tokens of a class agree. A single other token
    of the class has the right value in 3 of 7 cases only, so its tokens must be counted. A window
    holds few of them, and a mean over all tokens counts the values of all classes together.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Grouped(used, 3, 2, classes=6, values=6) for used in (2, 4)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Grouped(used, 3, 5, classes=64, values=16) for used in (2, 8, 16, 24, 32)),
            Width(dim=32, heads=2, layers=2),
            Training(700, 16, 5e-3),
            60,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Grouped(used, 3, 5, classes=256, values=64) for used in (2, 16, 48, 96, 128)
                ),
                DEEP,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate examples of a split."""
        params: Grouped = self.recipe.data
        tokens, targets = draw_of_split(
            lambda rows: generate(params, rows, generator), split, count
        )
        classes = F.one_hot(tokens[..., 0], params.classes)
        values = F.one_hot(tokens[..., 1], params.values)
        return {"inputs": torch.cat((classes, values), dim=-1).float(), "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the frame reader."""
        return FrameReader(self.recipe.model, slots)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each position (B, N, V)."""
        nowhere = torch.zeros_like(batch["targets"], dtype=torch.bool)
        return model(batch["inputs"], nowhere)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the most frequent value of all, other than the token's own."""
        values = batch["inputs"][..., self.recipe.data.classes :]
        counts = values.sum(dim=1, keepdim=True).expand_as(values)
        guess = counts.masked_fill(values.bool(), -1).argmax(dim=-1)
        return {"most frequent value of all": self.score(guess, batch)}
