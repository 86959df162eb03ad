"""Attention slots: the attention layers of a backbone, filled by the variant or the reference."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cab.attention import Attention
from cab.taxonomy import Pattern

Factory = Callable[..., Attention]
"""Constructs an attention from its geometry (see `cab.attention.Geometry`)."""

LARGEST_SIZE = 10**6
"""The largest size that a backbone may have; networks of today have hundredths of it."""


@dataclass(frozen=True)
class Width:
    """Sizes that all backbones have.

    short_convolution is the kernel of the depthwise convolution before attention; 0 means none.
    hybrid = k fills every (k + 1)-th slot of the pattern under test with the reference, as in "A
    Systematic Analysis of Hybrid Linear Attention" (Wang et al., 2025, arXiv 2507.06457).
    """

    dim: int = 64
    heads: int = 4
    layers: int = 2
    expansion: int = 2
    short_convolution: int = 0
    dropout: float = 0.0
    hybrid: int = 0

    def __post_init__(self) -> None:
        for name in ("dim", "heads", "layers", "expansion"):
            if not 1 <= getattr(self, name) <= LARGEST_SIZE:
                raise ValueError(f"{name} must be 1 to {LARGEST_SIZE}")
        if self.dim % self.heads:
            raise ValueError(f"dim = {self.dim} is not divisible by heads = {self.heads}")
        if not 0 <= self.short_convolution <= LARGEST_SIZE:
            raise ValueError(f"short_convolution must be 0 to {LARGEST_SIZE}")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be at least 0 and below 1")
        if not 0 <= self.hybrid < self.layers:
            raise ValueError(
                f"hybrid = {self.hybrid} needs at least {self.hybrid + 1} layers, and there are "
                f"{self.layers}; more with --set model.layers={self.hybrid + 1}"
            )


@dataclass
class Slots:
    """Fills a backbone's slots: the variant in those of one pattern, the reference elsewhere.

    Results are therefore about one pattern. `filled` lists (slot name, pattern, module) in the
    order of construction, which is from the input to the output; `tested` lists the modules of the
    variant under test. One object fills one network.

    stretch is how many times longer than in training the network's sequences may be: a network for
    512 tokens with stretch 4 gives its attentions max_length = 512 and train_length = 128.
    """

    pattern: Pattern
    variant: Factory
    reference: Factory
    stretch: int = 1
    filled: list[tuple[str, Pattern, Attention]] = field(default_factory=list)
    tested: list[Attention] = field(default_factory=list)

    def fill(
        self,
        name: str,
        pattern: Pattern,
        width: Width,
        max_length: int,
        grid: tuple[int, int] | None = None,
        layers: int | None = None,
    ) -> Attention:
        """Return the attention for the next slot `name` (encoder_self, decoder_self, cross).

        layers is how many slots of this name the network has; width.layers if not given.

        Raises:
            ValueError: there are more slots of this name than layers.
        """
        under_test = pattern == self.pattern
        if under_test and width.hybrid:
            before = sum(of == pattern for _, of, _ in self.filled)
            under_test = (before + 1) % (width.hybrid + 1) != 0
        module = (self.variant if under_test else self.reference)(
            dim=width.dim,
            heads=width.heads,
            pattern=pattern,
            max_length=max_length,
            train_length=max(1, max_length // self.stretch),
            grid=grid,
            layer=sum(of == name for of, _, _ in self.filled),
            layers=width.layers if layers is None else layers,
        )
        self.filled.append((name, pattern, module))
        if under_test:
            self.tested.append(module)
        return module
