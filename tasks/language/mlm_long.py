"""Predict masked byte pairs of books: the MLM task of the CAB paper."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder import Encoder, EncoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, PublishedTraining, Recipe, Split, Task, Training
from cab.tasks.language._books import PARTS, VOCABULARY, Windows
from cab.tasks.language._masking import IGNORED, mask, nats

MASK = VOCABULARY
"""The token that hides one."""


@dataclass(frozen=True)
class Length:
    """Byte pairs in a window."""

    length: int


@cache
def _windows(directory: Path, part: str, length: int) -> Windows:
    return Windows("pg19", directory, part, length)


def _recipe(width: Width, training: Training, examples: int, evaluations: int) -> Recipe:
    length = 2_048
    model = EncoderConfig(width, vocabulary=VOCABULARY + 1, outputs=VOCABULARY + 1, length=length)
    return Recipe(
        Length(length),
        model,
        training,
        examples // 4,
        examples,
        evaluation_batch=8,
        evaluations=evaluations,
    )


@register_task(
    name="mlm-long",
    domain="language",
    pattern="ns",
    summary="predict masked byte pairs of the books of PG-19 (log perplexity)",
    backbone="encoder",
    metric="log_perplexity",
    higher_is_better=False,
    chance=10.825,
    version=2,
    length="2,048 byte pairs, 307 of them masked",
    data=("pg19", "gpt2-bpe"),
    imports=("datasets", "tiktoken"),
    source="PG-19 (Rae et al., 2020, arXiv 1911.05507), hub emozilla/pg19; RoBERTa-base (Liu et "
    "al., 2019, arXiv 1907.11692) and its training as in CAB (arXiv 2210.07661), but measured on "
    "the test part, where CAB reports validation. Unlike there, layers are pre-norm, attention "
    "has no dropout, windows are drawn with replacement, and 15 % of every window are asked for; "
    "perplexity is the exponential of the mean; not tested on the published files yet",
    licence="Apache-2.0",
    suites={"cab": {"log_perplexity": "PPL"}},
    diagnostic=("standard", "full"),
)
class MlmLong(Task):
    """Windows within books. There is no quick profile; mlm is the small task of this kind."""

    recipes = {  # noqa: RUF012
        "standard": _recipe(
            Width(dim=512, heads=8, layers=6, expansion=4, dropout=0.1),
            Training(20_000, 32, 3e-4),
            500,
            evaluations=2,
        ),
        "full": _recipe(
            Width(dim=768, heads=12, layers=12, expansion=4, dropout=0.1),
            PublishedTraining(
                125_000,
                256,
                3e-4,
                weight_decay=0.01,
                warmup=0.04,
                gradient_clip=0.0,
                schedule="linear",
                betas=(0.9, 0.98),
                epsilon=1e-6,
                keep="best",
            ),
            2_000,
            evaluations=25,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Cut random windows to train on, evenly spaced ones otherwise. Then hide."""
        assert self.data_dir is not None
        windows = _windows(self.data_dir, PARTS[split], self.recipe.data.length)
        shown, targets = mask(windows.draw(split, count, generator), VOCABULARY, MASK, generator)
        return {"inputs": shown, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder; its head is the table of its embeddings."""
        model = Encoder(self.recipe.model, slots)
        model.head.weight = model.embedding.weight
        return model

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per byte pair asked for."""
        return F.cross_entropy(model(batch["inputs"]).mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return nats per byte pair asked for, of each window."""
        return {"log_perplexity": nats(model(batch["inputs"]), batch["targets"])}
