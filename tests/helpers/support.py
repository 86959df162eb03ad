"""Building variants for tests, with sizes that all differ: a transposition cannot pass."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cab.attention import Attention, build_attention
from cab.registry import discover_variants
from cab.seeding import generator
from cab.taxonomy import Pattern

HELPERS = Path(__file__).parent
REPOSITORY = HELPERS.parents[1]

BATCH, HEADS, HEAD_WIDTH, CONTEXT = 4, 3, 5, 29
DIM = HEADS * HEAD_WIDTH
LENGTHS = (1, 2, 7, 17, 63, 64, 65, 130)
"""Never only powers of two; they pass every built-in window (16) and chunk (64, 128)."""

VARIANTS = discover_variants()
PAIRS = [
    (card.name, pattern)
    for card in VARIANTS.cards()
    if not card.needs_grid
    for pattern in card.patterns
]
EXACT_PAIRS = [(card.name, p) for card in VARIANTS.cards() if card.exact for p in card.patterns]
CAUSAL_PAIRS = [(name, pattern) for name, pattern in PAIRS if pattern.causal]


def build(
    name: str,
    pattern: Pattern | str,
    *,
    dim: int = DIM,
    heads: int = HEADS,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    max_length: int = 256,
    **options: Any,
) -> Attention:
    """Construct a registered variant with its own settings, in evaluation mode."""
    sizes: dict[str, Any] = {"dim": dim, "heads": heads, "max_length": max_length}
    return build_class(VARIANTS.load(name), pattern, dtype=dtype, seed=seed, **sizes, **options)


def build_class(
    attention: type[Attention],
    pattern: Pattern | str,
    *,
    dim: int = DIM,
    heads: int = HEADS,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    max_length: int = 256,
    **options: Any,
) -> Attention:
    """Construct a class, registered or planted; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes: dict[str, Any] = {"dim": dim, "heads": heads, "max_length": max_length}
        module = build_attention(attention, options, pattern=Pattern(pattern), **sizes)
    return module.to(dtype).eval()


def draw(*shape: int, seed: object = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw standard normal numbers from a generator of their own."""
    return torch.randn(shape, generator=generator(seed, *shape), dtype=torch.float64).to(dtype)


def context_for(attention: Attention, batch: int, length: int = CONTEXT) -> Tensor | None:
    """Return a context where the pattern takes one, else None."""
    if not attention.pattern.cross:
        return None
    dtype = next((p.dtype for p in attention.parameters()), torch.float64)
    return draw(batch, length, attention.dim, seed="context", dtype=dtype)


def right_padding(lengths: list[int], longest: int) -> Tensor:
    """Return the mask (B, longest) of rows of these lengths; True marks padding."""
    return torch.arange(longest) >= torch.tensor(lengths)[:, None]


def relative_difference(value: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, in units of the largest expected value (at least 1)."""
    if not expected.numel():
        return 0.0
    scale = max(1.0, expected.abs().max().item())
    return (value - expected).abs().max().item() / scale
