"""Transduce a long sequence: write it in reverse order."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training


@dataclass(frozen=True)
class Strings:
    """Strings of `length` tokens, each one of `symbols`, which may repeat."""

    length: int
    symbols: int

    def __post_init__(self) -> None:
        if self.length < 1 or self.symbols < 2:
            raise ValueError("transduce needs length >= 1 and symbols >= 2")


def _recipe(params: Strings, width: Width, training: Training, examples: int) -> Recipe:
    model = EncoderDecoderConfig(
        width,
        features=params.symbols,
        vocabulary=params.symbols + 1,
        source_length=params.length,
        target_length=params.length,
    )
    return Recipe(params, model, training, examples, examples)


@register_task(
    name="transduce",
    domain="long_range",
    pattern="cc",
    summary="write 48 random symbols in reverse order",
    backbone="encoder-decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=1,
    length="48 queries, 48 keys",
    source="reversal of random strings, as in Learning to Transduce with Unbounded Memory "
    "(Grefenstette et al., 2015, arXiv 1506.02516)",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.75,
            "seeds": 3,
            "measured": {"softmax": 1.0, "none": 0.062, "mean": 0.087, "most frequent": 0.134},
        }
    },
)
class Transduce(Task):
    """Reverse a string; encoder and decoder use softmax, and the cross-attention is under test.

    Splits are drawn from 16^48 strings.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Strings(length=12, symbols=5),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": _recipe(
            Strings(length=48, symbols=16),
            Width(dim=64, heads=4, layers=2),
            Training(700, 32, 3e-3),
            500,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Strings = self.recipe.data
        inputs = torch.randint(params.symbols, (count, params.length), generator=generator)
        return {"inputs": inputs, "targets": inputs.flip(1)}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        return EncoderDecoder(self.recipe.model, slots).even_out()

    def _source(self, batch: Batch) -> tuple[Tensor, Tensor]:
        source = F.one_hot(batch["inputs"], self.recipe.data.symbols).float()
        return source, torch.zeros_like(batch["inputs"], dtype=torch.bool)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        tokens = F.pad(batch["targets"][:, :-1], (1, 0), value=self.recipe.data.symbols)
        return F.cross_entropy(model(*self._source(batch), tokens).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of symbols that are right, greedily decoded."""
        assert isinstance(model, EncoderDecoder)
        params: Strings = self.recipe.data
        written = model.generate(*self._source(batch), params.symbols, params.length)
        return {"accuracy": (written == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the source's most frequent symbol as every answer."""
        counts = F.one_hot(batch["inputs"], self.recipe.data.symbols).sum(dim=1)
        guess = counts.argmax(dim=1, keepdim=True)
        return {"most frequent": (guess == batch["targets"]).float().mean(dim=1)}
