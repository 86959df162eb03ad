"""Associative recall from a separate memory of pairs."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.context_reader import ContextReader, ContextReaderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training
from cab.tasks._labels import LabelledTask
from cab.tasks._splits import draw_of_split
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, standard


@dataclass(frozen=True)
class Memory:
    """pairs K, each asked once; `keys` and `values` are how many different ones there are."""

    pairs: int
    keys: int
    values: int

    def __post_init__(self) -> None:
        if self.pairs > min(self.keys, self.values):
            raise ValueError("mqar-cross needs pairs <= keys and pairs <= values")


def generate(
    params: Memory, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pairs (count, K, 2), queries (count, K) and the values asked for (count, K).

    K distinct keys are paired with K distinct values; every key is asked once, in random order.
    """
    keys, values, order = (
        torch.rand(count, size, generator=generator).argsort(dim=1)[:, : params.pairs]
        for size in (params.keys, params.values, params.pairs)
    )
    return torch.stack((keys, values), dim=-1), keys.gather(1, order), values.gather(1, order)


def _recipe(
    levels: tuple[Memory, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    hardest = levels[-1]
    model = ContextReaderConfig(
        width,
        context_features=hardest.keys + hardest.values,
        query_features=hardest.keys,
        outputs=hardest.values,
        length=hardest.pairs,
    )
    return Recipe(hardest, model, training, examples // 2, examples, levels=levels, rates=rates)


@register_task(
    name="mqar-cross",
    domain="retrieval",
    pattern="nc",
    summary="recall the values of 64 keys from a memory of 64 pairs",
    backbone="context reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0125,
    version=2,
    length="64 queries, 64 pairs",
    source="MQAR (Zoology, Arora et al., 2023, arXiv 2312.04927), split after its pairs: the "
    "pairs are the context, the queries are the query sequence",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.75,
            "seeds": 3,
            "measured": {"mean": 0.16, "none": 0.014, "softmax": 1.0, "first value": 0.164},
            "floors": (0.5, 0.25, 0.125, 0.0625, 0.0312, 0.0156),
        },
        "standard": {"margin": 0.75, "seeds": 3},
    },
)
class MqarCross(LabelledTask):
    """Each pair is one token of the memory, and only attention to the memory brings values in.

    The levels are the number of pairs, with the same keys and values at each. A mean over the
    memory tells which values stand in it, but not with which key.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Memory(pairs, keys=12, values=10) for pairs in (2, 8)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Memory(pairs, keys=80, values=80) for pairs in (2, 4, 8, 16, 32, 64)),
            Width(dim=32, heads=2, layers=2),
            Training(1000, 32, 5e-3),
            200,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(Memory(pairs, keys=320, values=320) for pairs in (2, 8, 32, 64, 128, 256)),
                SHALLOW,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate examples of a split."""
        params: Memory = self.recipe.data
        pairs, queries, targets = draw_of_split(
            lambda rows: generate(params, rows, generator), split, count
        )
        keys = F.one_hot(pairs[..., 0], params.keys)
        values = F.one_hot(pairs[..., 1], params.values)
        return {
            "context": torch.cat((keys, values), dim=-1).float(),
            "inputs": F.one_hot(queries, params.keys).float(),
            "targets": targets,
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the context reader."""
        return ContextReader(self.recipe.model, slots)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each position (B, N, V)."""
        return model(batch["context"], batch["inputs"])

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the first pair's value as every answer, that of any value."""
        first = batch["context"][:, :1, self.recipe.data.keys :].argmax(dim=-1)
        return {"first value": self.score(first, batch)}
