"""Recall in which a key has two parts, each of which it shares with other keys."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.frame_reader import FrameReader, FrameReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, Batch, Recipe, Split, Training, choose
from cab.tasks._labels import LabelledTask
from cab.tasks._splits import draw_of_split
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, standard


@dataclass(frozen=True)
class Composed:
    """pairs K of a key and a value, each asked for once, so 2 K tokens.

    A key is one of `parts` first parts and one of `parts` second parts; of these, `used` first and
    `used` second ones stand in an example. `values` is how many values there are.
    """

    pairs: int
    used: int
    parts: int
    values: int

    def __post_init__(self) -> None:
        if self.pairs > self.used**2 or self.used > self.parts:
            raise ValueError("compose needs pairs <= used squared and used <= parts")

    @property
    def features(self) -> int:
        """Numbers per token: the two parts of its key and its value, one-hot."""
        return 2 * self.parts + self.values


def generate(params: Composed, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return tokens (count, 2 K, 3) and targets (count, 2 K).

    K distinct keys have independent values; a token is `first part, second part, value`. Every key
    stands once with its value and once as a query, with -1 in the value's place. The 2 K tokens
    stand in uniform random order. The target of a query is the value of its key.
    """
    pairs, used = params.pairs, params.used

    def shuffled(size: int, kept: int) -> Tensor:
        return torch.rand(count, size, generator=generator).argsort(dim=1)[:, :kept]

    keys = shuffled(used**2, pairs)
    first = shuffled(params.parts, used).gather(1, keys // used)
    second = shuffled(params.parts, used).gather(1, keys % used)
    values = choose(count * pairs, params.values, generator).view(count, pairs)
    order = shuffled(2 * pairs, 2 * pairs)
    nothing, ignored = torch.full_like(values, -1), torch.full_like(values, IGNORED)
    columns = ((first, first), (second, second), (values, nothing), (ignored, values))
    *token, targets = (torch.cat(both, dim=1).gather(1, order) for both in columns)
    return torch.stack(token, dim=-1), targets


def _recipe(
    levels: tuple[Composed, ...],
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
        length=2 * hardest.pairs,
        causal=False,
    )
    return Recipe(hardest, model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="compose",
    domain="long_range",
    pattern="ns",
    summary="recall the values of 128 keys of two parts each, anywhere among 256 tokens",
    backbone="frame reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.03125,
    version=1,
    length="256 tokens",
    source="MQAR (Zoology, Arora et al., 2023, arXiv 2312.04927) with pairs and queries shuffled "
    "and with keys of two parts",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.4,
            "seeds": 3,
            "measured": {
                "mean": 0.157,
                "none": 0.032,
                "softmax": 1.0,
                "window": 0.455,
                "most frequent value": 0.177,
                "same second part": 0.369,
            },
            "floors": (0.825, 0.3442, 0.2521, 0.2189, 0.2031),
        },
        "standard": {"margin": 0.4, "seeds": 3},
    },
)
class Compose(LabelledTask):
    """Recall by both parts of a key at once; each part alone belongs to several keys.

    The levels are the number of pairs. A query and its pair stand anywhere, so a window does not
    hold both, and a mean over the tokens does not tell which value belongs to which key.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Composed(pairs, used=3, parts=4, values=8) for pairs in (2, 4)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            tuple(
                Composed(pairs, used, parts=16, values=32)
                for pairs, used in ((2, 2), (20, 6), (48, 9), (88, 12), (128, 16))
            ),
            Width(dim=32, heads=2, layers=2),
            Training(800, 16, 5e-3),
            60,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Composed(pairs, used, parts=32, values=64)
                    for pairs, used in ((2, 2), (48, 9), (128, 16), (256, 24), (512, 32))
                ),
                DEEP,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate examples of a split."""
        params: Composed = self.recipe.data
        tokens, targets = draw_of_split(
            lambda rows: generate(params, rows, generator), split, count
        )
        parts = F.one_hot(tokens[..., :2], params.parts).flatten(2)
        # The value -1, of a query, becomes zeros.
        values = F.one_hot(tokens[..., 2] + 1, params.values + 1)[..., 1:]
        return {"inputs": torch.cat((parts, values), dim=-1).float(), "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the frame reader."""
        return FrameReader(self.recipe.model, slots)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each position (B, N, V)."""
        nowhere = torch.zeros_like(batch["targets"], dtype=torch.bool)
        return model(batch["inputs"], nowhere)

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scores of the most frequent value, and of one with the same second part.

        The latter is the most frequent value of the keys that have a query's second part.
        """
        parts = self.recipe.data.parts
        second, values = batch["inputs"][..., parts : 2 * parts], batch["inputs"][..., 2 * parts :]
        guesses = {
            "most frequent value": values.sum(dim=1, keepdim=True),
            "same second part": second @ (second.mT @ values),
        }
        return {name: self.score(counts.argmax(dim=-1), batch) for name, counts in guesses.items()}
