"""Attention slots: where the variant under test goes, and where the reference goes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cab.attention import Attention
from cab.taxonomy import Pattern

Factory = Callable[..., Attention]
"""Constructs an attention from its geometry (see `cab.attention.Geometry`)."""


@dataclass(frozen=True)
class Width:
    """Sizes that every backbone has.

    short_convolution is the kernel of the depthwise convolution before attention, 0 for none.
    """

    dim: int = 64
    heads: int = 4
    layers: int = 2
    expansion: int = 2
    short_convolution: int = 0
    dropout: float = 0.0


@dataclass
class Slots:
    """Fills a backbone's slots: the variant in those of one pattern, the reference elsewhere.

    So every number speaks of one pattern. `filled` lists (slot name, pattern, module) in the
    order of construction.
    """

    pattern: Pattern
    variant: Factory
    reference: Factory
    filled: list[tuple[str, Pattern, Attention]] = field(default_factory=list)

    def fill(
        self,
        name: str,
        pattern: Pattern,
        width: Width,
        max_length: int,
        grid: tuple[int, int] | None = None,
    ) -> Attention:
        """Return the attention for the slot `name` (encoder_self, decoder_self, cross)."""
        factory = self.variant if pattern == self.pattern else self.reference
        module = factory(
            dim=width.dim, heads=width.heads, pattern=pattern, max_length=max_length, grid=grid
        )
        self.filled.append((name, pattern, module))
        return module

    def under_test(self) -> list[Attention]:
        """The modules that hold the variant under test."""
        return [module for _, pattern, module in self.filled if pattern == self.pattern]
