"""Selective copying: repeat, in order, the tokens that are scattered among blanks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import IGNORED, LENGTH_FACTORS, LONGEST, Batch, Recipe, Split, Task, Training
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, reading, standard


@dataclass(frozen=True)
class Scattered:
    """Sequences of `length` that hold `tokens` to copy, each one of `symbols`.

    With S symbols, the start is token S, the blank S + 1, and from S + 2 on stand those that ask
    for the first symbol, the second, and so on up to `most`.
    """

    length: int
    tokens: int
    symbols: int
    most: int

    def __post_init__(self) -> None:
        if not 0 < self.tokens <= self.most or self.length <= 2 * self.tokens or self.symbols < 2:
            raise ValueError(
                "selective-copy needs 1 to `most` tokens, length > 2 tokens and symbols >= 2"
            )

    @property
    def vocabulary(self) -> int:
        """The number of different tokens."""
        return self.symbols + 2 + self.most


def generate(params: Scattered, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and labels, both (count, length).

    The start token is first. Symbols are drawn with replacement, and each blank is put before a
    random one of them. Tokens follow that ask for each symbol, in order; their labels are the
    symbols. The model does not read its answers.
    """
    tokens, symbols = params.tokens, params.symbols
    start, blank, ask = symbols, symbols + 1, symbols + 2
    blanks = params.length - 2 * tokens - 1
    chosen = torch.randint(symbols, (count, tokens), generator=generator)
    before = torch.randint(tokens, (count, blanks), generator=generator)
    rank = torch.arange(tokens)
    place = 1 + rank + (before[:, :, None] <= rank).sum(dim=1)
    inputs = torch.full((count, params.length), blank).scatter_(1, place, chosen)
    inputs[:, 0], inputs[:, -tokens:] = start, ask + rank
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -tokens:] = chosen
    return inputs, labels


def _recipe(
    levels: tuple[Scattered, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    # Without positions, so that counting the symbols is the same at all lengths.
    top = levels[-1]
    model = DecoderConfig(
        width, vocabulary=top.vocabulary, length=LONGEST * top.length, positions=False
    )
    return Recipe(top, model, training, examples, examples, levels=levels, rates=rates)


@register_task(
    name="selective-copy",
    domain="long_range",
    pattern="cs",
    summary="copy 5 symbols that are scattered among 245 blanks, in order",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=4,
    length="12 to 256 tokens",
    source="selective copying as in Mechanistic Design and Scaling of Hybrid Architectures (Poli "
    "et al., 2024, arXiv 2403.17844), with a start token and a token for each question",
    licence="generated",
    controls={"window": {"window": 16}},
    certificate={
        "quick": {
            "margin": 0.2,
            "seeds": 3,
            "measured": {
                "mean": 0.557,
                "none": 0.338,
                "softmax": 0.973,
                "window": 0.641,
                "most frequent": 0.387,
            },
            "floors": (1.0, 0.5444, 0.44, 0.4667, 0.334),
        },
        "standard": {"margin": 0.2, "seeds": 3},
    },
)
class SelectiveCopy(Task):
    """The task of MAD with an explicit generator, a start token and numbered questions.

    The levels are the lengths and the numbers of symbols. Which symbol is the second, say, depends
    on all tokens before it, and it may stand more than 200 tokens before its question: a short
    window does not reach it, and a mean mixes it with the blanks.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            (
                Scattered(8, tokens=2, symbols=6, most=4),
                Scattered(16, tokens=4, symbols=6, most=4),
            ),
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": _recipe(
            tuple(
                Scattered(length, tokens, symbols=16, most=5)
                for length, tokens in ((12, 2), (24, 3), (48, 4), (96, 4), (256, 5))
            ),
            Width(dim=32, heads=2, layers=2, short_convolution=3),
            Training(1100, 16, 3e-3),
            100,
            rates=(1.5e-3, 3e-3, 6e-3),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Scattered(length, tokens, symbols=64, most=16)
                    for length, tokens in ((12, 2), (48, 4), (192, 8), (512, 12), (1024, 16))
                ),
                reading(DEEP),
                TRAINING,
                EXAMPLES,
            ),
            evaluation_batch=32,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        inputs, targets = generate(self.recipe.data, count, generator)
        return {"inputs": inputs, "targets": targets}

    def build(self, slots: Slots) -> nn.Module:
        """Build the decoder."""
        return Decoder(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy of the copies."""
        logits = model(batch["inputs"])
        return F.cross_entropy(logits.mT, batch["targets"], ignore_index=IGNORED)

    def at_lengths(self, factors: Sequence[float] = LENGTH_FACTORS) -> Mapping[float, Task]:
        """Return the task at other lengths, with fewer symbols where they would not fit."""
        params: Scattered = self.recipe.data
        tasks = {}
        for factor in factors:
            length = int(params.length * factor)
            tokens = min(params.tokens, (length - 1) // 2)
            tasks[factor] = self.stretched(factor, replace(params, length=length, tokens=tokens))
        return tasks

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's symbols that are copied correctly."""
        tokens = self.recipe.data.tokens
        copies = model(batch["inputs"])[:, -tokens:].argmax(dim=-1)
        return {"accuracy": (copies == batch["targets"][:, -tokens:]).float().mean(dim=1)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the score of each example's most frequent symbol as every copy."""
        copies = batch["targets"][:, -self.recipe.data.tokens :]
        guess = F.one_hot(copies).sum(dim=1).argmax(dim=1, keepdim=True)
        return {"most frequent": (guess == copies).float().mean(dim=1)}
