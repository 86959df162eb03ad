"""Pairs of papers, each encoded alone: the retrieval task of Long Range Arena."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.slots import Slots, Width
from cab.backbones.two_tower import TwoTower, TwoTowerConfig
from cab.data import keep_apart, load_part
from cab.task import SPLITS, Batch, Recipe, Split, Task, Training, choose
from cab.tasks.language._bytes import VOCABULARY, byte_rows

PAIR = ("text1", "text2")
ROWS = 1000
"""Pairs that are read at a time: the published tables are gigabytes."""


@dataclass(frozen=True)
class Documents:
    """The first `length` bytes of each document are read."""

    length: int


def recipe(length: int, width: Width, training: Training, **more: Any) -> Recipe:
    """Make a recipe that tests on all published pairs; more is of the two towers."""
    valid, evaluations = more.pop("valid", 18_090), more.pop("evaluations", 2)
    model = TwoTowerConfig(width, vocabulary=VOCABULARY, length=length, classes=2, **more)
    return Recipe(Documents(length), model, training, valid, 17_437, evaluations=evaluations)


def read_pairs(table: Any, length: int) -> tuple[Tensor, Tensor]:
    """Return the bytes of pairs (K, 2, length) and their labels (K,) of a published table."""
    pairs, labels = [], []
    for start in range(0, len(table), ROWS):
        rows = table[start : start + ROWS]
        both = [byte_rows((text or "" for text in rows[name]), length) for name in PAIR]
        pairs.append(torch.stack(both, dim=1))
        labels.append(torch.tensor(rows["label"]).round().long())
    return torch.cat(pairs), torch.cat(labels)


class Match(Task):
    """The published split, without pairs that are also in a later part of it."""

    @cached_property
    def _pairs(self) -> dict[Split, tuple[Tensor, Tensor]]:
        directory = self.data_dir
        assert directory is not None
        length = self.recipe.data.length
        found = {part: read_pairs(load_part("aan", directory, part), length) for part in SPLITS}
        train, valid = keep_apart(
            *((pair.numpy().tobytes() for pair in found[part][0]) for part in SPLITS)
        )
        kept: dict[Split, list[int]] = {"train": train, "valid": valid}
        for part, rows in kept.items():
            found[part] = (found[part][0][rows], found[part][1][rows])
        return found

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw random pairs for training; validation and test use them in order."""
        pairs, labels = self._pairs[split]
        which = choose(count, len(pairs), generator)
        if split != "train":
            which = torch.arange(count) % len(pairs)
        return {"inputs": pairs[which].long(), "targets": labels[which]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the two towers."""
        return TwoTower(self.recipe.model, slots)

    def _answers(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["inputs"], batch["inputs"] == 0)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(self._answers(model, batch), batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return whether each pair was classified correctly."""
        right = self._answers(model, batch).argmax(dim=-1) == batch["targets"]
        return {"accuracy": right.float()}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of always answering `yes`."""
        return {"yes": batch["targets"].float()}

    def tokens(self, batch: Batch) -> int:
        """Count the bytes of both documents, padding left out."""
        return int((batch["inputs"] != 0).sum())
