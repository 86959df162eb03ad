"""Transduce a long sequence: write it again, symbol by symbol."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, standard


@dataclass(frozen=True)
class Strings:
    """Strings of `length` tokens, each one of `symbols`, which may repeat."""

    length: int
    symbols: int

    def __post_init__(self) -> None:
        if self.length < 1 or self.symbols < 2:
            raise ValueError("transduce needs length >= 1 and symbols >= 2")


def _recipe(
    levels: tuple[Strings, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    top = levels[-1]
    model = EncoderDecoderConfig(
        width,
        features=top.symbols,
        vocabulary=top.symbols + 1,
        source_length=top.length,
        target_length=top.length,
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="transduce",
    domain="long_range",
    pattern="cc",
    summary="write 128 random symbols again, in order",
    backbone="encoder-decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=3,
    length="4 to 128 queries and keys",
    source="copying of random strings, as in Learning to Transduce with Unbounded Memory "
    "(Grefenstette et al., 2015, arXiv 1506.02516)",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.5,
            "seeds": 3,
            "measured": {"mean": 0.43, "none": 0.031, "softmax": 0.984, "most frequent": 0.148},
            "floors": (0.9967, 0.71, 0.4113, 0.2386, 0.138, 0.0852),
        },
        "standard": {"margin": 0.5, "seeds": 3},
    },
)
class Transduce(Task):
    """Copy a string; encoder and decoder use softmax, and the cross-attention is under test.

    The levels are the lengths. Each symbol stands at one place of the source, which the place of
    the target names; a summary of fixed size cannot hold a hundred random symbols, and the
    symbols before it say nothing of the next one. Source and target share their positions, so
    that what is learned at short lengths holds at long ones. Accuracy is measured with the true
    symbols before each one, which costs one pass for a string instead of 128.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (Strings(4, symbols=5), Strings(12, symbols=5)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Strings(length, symbols=32) for length in (4, 8, 16, 32, 64, 128)),
            Width(dim=32, heads=2, layers=1),
            Training(1500, 16, 5e-3),
            100,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(Strings(length, symbols=64) for length in (4, 16, 64, 128, 256, 512)),
                SHALLOW,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Strings = self.recipe.data
        inputs = torch.randint(params.symbols, (count, params.length), generator=generator)
        return {"inputs": inputs, "targets": inputs.clone()}

    def build(self, slots: Slots) -> nn.Module:
        """Build the encoder-decoder."""
        return EncoderDecoder(self.recipe.model, slots).even_out().share_places()

    def _source(self, batch: Batch) -> tuple[Tensor, Tensor]:
        source = F.one_hot(batch["inputs"], self.recipe.data.symbols).float()
        return source, torch.zeros_like(batch["inputs"], dtype=torch.bool)

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        tokens = F.pad(batch["targets"][:, :-1], (1, 0), value=self.recipe.data.symbols)
        return model(*self._source(batch), tokens)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy under teacher forcing."""
        return F.cross_entropy(self._logits(model, batch).mT, batch["targets"])

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of symbols that are right, each given the true ones before it."""
        written = self._logits(model, batch).argmax(dim=-1)
        return {"accuracy": (written == batch["targets"]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of the source's most frequent symbol as every answer."""
        counts = F.one_hot(batch["inputs"], self.recipe.data.symbols).sum(dim=1)
        guess = counts.argmax(dim=1, keepdim=True)
        return {"most frequent": (guess == batch["targets"]).float().mean(dim=1)}
