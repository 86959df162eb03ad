"""Summaries of groups of news articles: the Sum task of the CAB paper, in three patterns."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoderConfig, TextEncoderDecoder
from cab.backbones.slots import Slots, Width
from cab.task import IGNORED, Batch, PublishedTraining, Recipe, Split, Task, Training, choose
from cab.tasks.language._books import END, PARTS, VOCABULARY, tokenised, tokeniser

SMOOTHING = 0.1
"""The share of a target that is spread over the vocabulary, in training."""
ROUGES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


@dataclass(frozen=True)
class Texts:
    """Maximum byte pairs of the articles and of the summary, and the minimum of a summary."""

    source: int
    target: int
    shortest: int


@cache
def _pairs(directory: Path, part: str, params: Texts) -> Any:
    columns = {"document": params.source, "summary": params.target - 1}
    return tokenised("multi-news", directory, part, columns)


def padded(rows: list[Any], length: int) -> Tensor:
    """Return lists of tokens as (B, length), END behind each."""
    tokens = torch.full((len(rows), length), END)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.from_numpy(row.copy())
    return tokens


def _recipe(width: Width, training: Training, examples: int) -> Recipe:
    """Make a recipe; validation takes a quarter of the test's examples."""
    texts = Texts(source=4_096, target=400, shortest=200)
    model = EncoderDecoderConfig(
        width,
        features=1,
        vocabulary=VOCABULARY,
        source_length=texts.source,
        target_length=texts.target,
    )
    return Recipe(texts, model, training, examples // 4, examples, evaluation_batch=8)


RECIPES = {
    "standard": _recipe(
        Width(dim=256, heads=8, layers=4, expansion=4, dropout=0.1),
        Training(20_000, 16, 5e-4),
        200,
    ),
    "full": _recipe(
        Width(dim=512, heads=8, layers=6, expansion=4, dropout=0.1),
        PublishedTraining(
            50_000,
            64,
            5e-4,
            weight_decay=0.01,
            warmup=0.02,
            gradient_clip=0.0,
            schedule="inverse-root",
            betas=(0.9, 0.98),
        ),
        5_622,
    ),
}


class Summarise(Task):
    """Summaries of news. There is no quick profile: generated text would only test recall."""

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Choose pairs to train on; to validate and to test they are evenly spaced."""
        assert self.data_dir is not None
        params: Texts = self.recipe.data
        pairs = _pairs(self.data_dir, PARTS[split], params)
        index = choose(count, len(pairs), generator)
        if split != "train":
            index = torch.linspace(0, len(pairs) - 1, count).long()
        chosen = [pairs[row] for row in index.tolist()]
        lengths = torch.tensor([len(pair["document"]) for pair in chosen])
        return {
            "source": padded([pair["document"] for pair in chosen], params.source),
            "source_padding": torch.arange(params.source) >= lengths[:, None],
            "targets": padded([pair["summary"] for pair in chosen], params.target),
        }

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        return TextEncoderDecoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the smoothed cross-entropy under teacher forcing, up to the first END."""
        targets = batch["targets"]
        tokens = F.pad(targets[:, :-1], (1, 0), value=END)
        logits = model(batch["source"], batch["source_padding"], tokens)
        return F.cross_entropy(logits.mT, _up_to_end(targets), label_smoothing=SMOOTHING)

    def loss_terms(self, batch: Batch) -> int:
        """Return the targets up to the ends."""
        return int((_up_to_end(batch["targets"]) != IGNORED).sum())

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return ROUGE-1, -2 and -L (F-measures in per cent, stemmed) of each greedy summary."""
        assert isinstance(model, TextEncoderDecoder)
        params: Texts = self.recipe.data
        written = model.write(
            batch["source"],
            batch["source_padding"],
            first=END,
            end=END,
            shortest=params.shortest,
            longest=params.target,
        )
        return self.compare(written, batch["targets"])

    def compare(self, written: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the ROUGE of tokens (B, N) and (B, M), each up to its first END."""
        from rouge_score.rouge_scorer import RougeScorer

        assert self.data_dir is not None
        encoding = tokeniser(self.data_dir)
        scorer = RougeScorer(list(ROUGES.values()), use_stemmer=True)

        def text(tokens: Tensor) -> str:
            return encoding.decode([token for token in tokens.tolist() if token != END])

        scored = [
            scorer.score(text(true), text(ours))
            for true, ours in zip(targets, written, strict=True)
        ]
        return {
            name: torch.tensor([100 * scores[rouge].fmeasure for scores in scored])
            for name, rouge in ROUGES.items()
        }

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return ROUGE-1 of the articles' beginning, as long as a summary may be."""
        beginning = batch["source"][:, : self.recipe.data.target]
        return {"beginning": self.compare(beginning, batch["targets"])["rouge_1"]}

    def tokens(self, batch: Batch) -> int:
        """Count the summaries' tokens."""
        return int((batch["targets"] != END).sum())


def _up_to_end(targets: Tensor) -> Tensor:
    """Set the targets after the first END of each row to IGNORED."""
    behind = (targets == END).long().cumsum(dim=1) > 1
    return targets.masked_fill(behind, IGNORED)
