"""Sorting: write the numbers of a set in increasing order."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.memory_decoder import MemoryDecoder, MemoryDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, standard


@dataclass(frozen=True)
class Numbers:
    """`count` different numbers below `largest`, in random order."""

    count: int
    largest: int

    def __post_init__(self) -> None:
        if not 0 < self.count <= self.largest:
            raise ValueError("sort needs 0 < count <= largest")


def _recipe(
    levels: tuple[Numbers, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = MemoryDecoderConfig(
        width, features=top.largest, vocabulary=top.largest + 1, length=top.count
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="sort",
    domain="retrieval",
    pattern="cc",
    summary="write 24 numbers below 84 in increasing order",
    backbone="memory decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0119,
    version=2,
    length="2 to 24 queries and keys",
    source="sorting as in Neural Turing Machines (Graves et al., 2014, arXiv 1410.5401)",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.25,
            "seeds": 3,
            "measured": {"mean": 0.589, "none": 0.099, "softmax": 0.965, "one more": 0.12},
            "floors": (0.9433, 0.7158, 0.5115, 0.4203, 0.3553),
        },
        "standard": {"margin": 0.25, "seeds": 3},
    },
)
class Sort(Task):
    """A memory of different numbers, which the decoder writes from the smallest to the largest.

    The levels are how many numbers there are. The next number is the smallest above the last one,
    so the decoder must compare what it wrote with all that is there. A number n is given to the
    memory as n + 1 ones and then zeros. Accuracy is measured with the true numbers before each
    one, so that one wrong number does not shift all later ones.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (Numbers(2, largest=16), Numbers(4, largest=16)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Numbers(count, largest=84) for count in (2, 4, 8, 12, 24)),
            Width(dim=32, heads=2, layers=2),
            Training(1500, 32, 4e-3),
            200,
            rates=(2e-3, 4e-3, 8e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(Numbers(count, largest=512) for count in (2, 8, 24, 64, 128)),
                SHALLOW,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Numbers = self.recipe.data
        drawn = torch.rand(count, params.largest, generator=generator).argsort(dim=1)
        inputs = drawn[:, : params.count]
        return {"inputs": inputs, "targets": inputs.sort(dim=1).values}

    def build(self, slots: Slots) -> nn.Module:
        """Build the memory decoder."""
        return MemoryDecoder(self.recipe.model, slots)

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        largest = self.recipe.data.largest
        steps = torch.arange(largest, device=batch["inputs"].device)
        memory = (batch["inputs"][..., None] >= steps).float()
        return model(memory, F.pad(batch["targets"][:, :-1], (1, 0), value=largest))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        return F.cross_entropy(self._logits(model, batch).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of numbers that are right, each given the true ones before it."""
        written = self._logits(model, batch).argmax(dim=-1)
        return {"accuracy": (written == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of one more than the last number as every next one."""
        following = F.pad(batch["targets"][:, :-1], (1, 0), value=-1) + 1
        return {"one more": (following == batch["targets"]).float().mean(dim=1)}
