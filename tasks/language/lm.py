"""Predict the next byte pair of books: CAB's LM task."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, PublishedTraining, Recipe, Split, Task, Training
from cab.tasks.language._books import PARTS, VOCABULARY, Windows


@dataclass(frozen=True)
class Length:
    """Number of byte pairs that are predicted per window."""

    length: int


@cache
def _windows(directory: Path, part: str, length: int) -> Windows:
    return Windows("pg19", directory, part, length)


def _recipe(
    width: Width, training: Training, examples: int, positions: bool | float, evaluations: int
) -> Recipe:
    length = 8_192
    model = DecoderConfig(width, vocabulary=VOCABULARY, length=length, positions=positions)
    return Recipe(
        Length(length),
        model,
        training,
        examples // 4,
        examples,
        evaluation_batch=2,
        evaluations=evaluations,
    )


@register_task(
    name="lm",
    domain="language",
    pattern="cs",
    summary="predict the next byte pair of the books of PG-19 (log perplexity)",
    backbone="decoder",
    metric="log_perplexity",
    higher_is_better=False,
    chance=10.825,
    version=2,
    length="8,192 byte pairs",
    data=("pg19", "gpt2-bpe"),
    imports=("datasets", "tiktoken"),
    source="PG-19 (Rae et al., 2020, arXiv 1911.05507), hub emozilla/pg19; fairseq's GPT with "
    "tied embeddings and its training as in CAB (arXiv 2210.07661). Unlike there, windows are "
    "within books and drawn with replacement, a thousand evenly spaced ones are tested, and "
    "vectors take no weight decay; perplexity is the exponential of the mean; not tested on the "
    "published files yet",
    licence="Apache-2.0",
    suites={"cab": {"log_perplexity": "PPL"}},
    diagnostic=("standard", "full"),
)
class Lm(Task):
    """Windows within books. There is no quick profile; byte-lm is the small task of this kind."""

    recipes = {  # noqa: RUF012
        "standard": _recipe(
            Width(dim=512, heads=8, layers=6, expansion=4),
            Training(10_000, 8, 5e-4),
            200,
            positions=True,
            evaluations=2,
        ),
        "full": _recipe(
            Width(dim=768, heads=12, layers=12, expansion=4),
            PublishedTraining(
                125_000,
                16,
                5e-4,
                weight_decay=0.01,
                warmup=0.08,
                gradient_clip=0.0,
                schedule="inverse-root",
                keep="best",
            ),
            1_000,
            positions=0.02,
            evaluations=25,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Cut random windows to train on; validation and test windows are evenly spaced."""
        assert self.data_dir is not None
        length = self.recipe.data.length
        windows = _windows(self.data_dir, PARTS[split], length + 1)
        drawn = windows.draw(split, count, generator)
        return {"inputs": drawn[:, :-1], "targets": drawn[:, 1:]}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder; its head is the table of its embeddings."""
        model = Decoder(self.recipe.model, slots)
        model.head.weight = model.embedding.weight
        return model

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per byte pair."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return nats per byte pair of each window."""
        nats = F.cross_entropy(model(batch["inputs"]).mT, batch["targets"], reduction="none")
        return {"log_perplexity": nats.mean(dim=1)}
