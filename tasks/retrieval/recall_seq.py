"""Recall in sequence: follow a linked list that is stored in a shuffled memory."""

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
class LinkedList:
    """A memory of `keys` pairs, one for each key, of which `written` are followed.

    The keys are drawn from `symbols`.
    """

    keys: int
    written: int
    symbols: int

    def __post_init__(self) -> None:
        if not 0 < self.written < self.keys <= self.symbols:
            raise ValueError("recall-seq needs 0 < written < keys <= symbols")


def generate(
    params: LinkedList, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pairs (count, K, 2), first keys (count, 1) and the keys to write (count, L).

    One random cycle runs through K different keys; its pairs (key, next key) are stored in random
    order. The L keys after the first are to be written.
    """
    drawn = torch.rand(count, params.symbols, generator=generator).argsort(dim=1)
    cycle = drawn[:, : params.keys]
    order = torch.rand(count, params.keys, generator=generator).argsort(dim=1)
    following = cycle.roll(-1, dims=1)
    pairs = torch.stack((cycle.gather(1, order), following.gather(1, order)), dim=-1)
    return pairs, cycle[:, :1], cycle[:, 1 : 1 + params.written]


def _recipe(
    levels: tuple[LinkedList, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = MemoryDecoderConfig(
        width, features=2 * top.symbols, vocabulary=top.symbols, length=top.keys
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="recall-seq",
    domain="retrieval",
    pattern="cc",
    summary="follow a linked list for 16 keys in a memory of 64 pairs",
    backbone="memory decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.015873015873015872,
    version=2,
    length="2 to 16 queries, 3 to 64 pairs",
    source="MQAR (Zoology, Arora et al., 2023, arXiv 2312.04927) with a separate memory, in "
    "which every answer of the decoder is its next query",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.5,
            "seeds": 3,
            "measured": {"mean": 0.15, "none": 0.015, "softmax": 1.0, "stored order": 0.115},
            "floors": (0.5167, 0.1356, 0.0678, 0.0375, 0.0183),
        },
        "standard": {"margin": 0.5, "seeds": 3},
    },
)
class RecallSeq(Task):
    """Each pair is one token of the memory, and each key that is written asks for the next.

    The levels are the numbers of pairs and of keys to write. A summary of the memory of fixed
    size holds fewer links the more there are, and the first wrong key leads astray.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (LinkedList(4, written=2, symbols=12), LinkedList(12, written=5, symbols=12)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": _recipe(
            tuple(
                LinkedList(keys, written, symbols=64)
                for keys, written in ((3, 2), (8, 6), (16, 12), (32, 16), (64, 16))
            ),
            Width(dim=64, heads=4, layers=1),
            Training(1000, 32, 4e-3),
            150,
            rates=(2e-3, 4e-3, 8e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    LinkedList(keys, written, symbols=256)
                    for keys, written in ((3, 2), (16, 12), (64, 32), (128, 48), (256, 64))
                ),
                SHALLOW,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        pairs, first, targets = generate(self.recipe.data, count, generator)
        memory = F.one_hot(pairs, self.recipe.data.symbols).flatten(2).float()
        return {"memory": memory, "inputs": first, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the memory decoder."""
        return MemoryDecoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        tokens = torch.cat((batch["inputs"], batch["targets"][:, :-1]), dim=1)
        return F.cross_entropy(model(batch["memory"], tokens).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of keys that are right, greedily decoded."""
        assert isinstance(model, MemoryDecoder)
        written = model.generate(batch["memory"], batch["inputs"], batch["targets"].shape[1])
        return {"accuracy": (written == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the values in the order of the memory."""
        stored = batch["memory"].unflatten(2, (2, -1)).argmax(dim=-1)[:, :, 1]
        written = stored[:, : batch["targets"].shape[1]]
        return {"stored order": (written == batch["targets"]).float().mean(dim=1)}

    def tokens(self, batch: Batch) -> int:
        """Count the keys that are written."""
        return batch["targets"].numel()
