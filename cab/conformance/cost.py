"""Cost: work and memory grow with the length as the card claims.

Exponents are fitted on counted operations and bytes of a forward and a backward pass, not on
time: public benchmarks have called mechanisms local that gather keys per query.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cab.conformance.counting import Counted, count
from cab.conformance.law import Finding, Law, Measured, Said
from cab.conformance.subject import Shape, Subject, right_padding
from cab.formula import evaluate

LENGTHS, GRIDS = (1024, 2048), ((32, 32), (32, 64))
OTHERWISE = 3
"""How many times its operations a pass may need in training or beside padding."""
ABOVE, BELOW = 0.15, 0.35
"""How far a measured exponent may stand above or below the claimed one."""


def run(subject: Subject) -> Said:
    """Fit growth over a doubling and compare with the card's formulas."""
    shapes = [Shape(n) for n in LENGTHS]
    if subject.card.needs_grid:
        shapes = [Shape(a * b, (a, b)) for a, b in GRIDS]
    # The fused kernel of a CPU has no formula for its products, so it is unfolded for the time.
    unfolded = [_count(subject, shape, unfold=True) for shape in shapes]
    for what in ("time", "memory"):
        formula = getattr(subject.card, what)
        if not formula:
            yield Finding(f"The card gives no formula for {what}; add {what}=... to it")
            continue
        if what == "time":
            values = [one.operations for one in unfolded]
        else:
            values = [_count(subject, shape).peak_bytes for shape in shapes]
        growth = _growth(subject, shapes, formula, values)
        yield Measured(f"{what} exponent", f"{growth.slope:.2f} (card: {formula})")
        if not growth.agrees:
            yield Finding(
                f"Counted {what} grows as N^{growth.slope:.2f} from {growth.lengths[0]} to "
                f"{growth.lengths[1]} tokens ({growth.values[0]:,} to {growth.values[1]:,}), but "
                f"the card's formula {formula} grows as N^{growth.claimed:.2f}"
            )
    yield from _otherwise(subject, shapes[0], unfolded[0])


def _otherwise(subject: Subject, shape: Shape, plain: Counted) -> Said:
    """Training or a padding mask must not switch to a mechanism with another cost."""
    masked = _count(subject, shape, unfold=True, masked=True)
    training = _count(subject, shape, unfold=True, training=True)
    for said, one in (("With a padding mask", masked), ("In training", training)):
        if one.operations > OTHERWISE * plain.operations:
            yield Finding(
                f"{said} a forward and backward pass needs {one.operations:,} operations at "
                f"{shape.length} tokens, otherwise {plain.operations:,}"
            )
    if not plain.finite:
        yield Finding(f"Outputs are not finite at {shape} (float32)")


@dataclass(frozen=True)
class Growth:
    """What was counted at two lengths, and the exponent that the card claims between them."""

    lengths: tuple[int, int]
    values: tuple[int, int]
    claimed: float

    @property
    def slope(self) -> float:
        """The measured exponent."""
        return exponent(self.lengths, self.values)

    @property
    def agrees(self) -> bool:
        """Whether the measured exponent is near the claimed one."""
        return self.claimed - BELOW <= self.slope <= self.claimed + ABOVE


def exponent(lengths: Sequence[float], values: Sequence[float]) -> float:
    """The power of the length that leads from the first value to the second."""
    return math.log(max(values[1], 1) / max(values[0], 1)) / math.log(lengths[1] / lengths[0])


def _growth(
    subject: Subject, shapes: Sequence[Shape], formula: str, values: Sequence[int]
) -> Growth:
    (short, long), (first, second) = (shape.length for shape in shapes), values
    claimed = [_claim(subject, formula, n) for n in (short, long)]
    return Growth((short, long), (first, second), exponent((short, long), claimed))


def _count(
    subject: Subject,
    shape: Shape,
    *,
    unfold: bool = False,
    masked: bool = False,
    training: bool = False,
) -> Counted:
    module = subject.build(shape, dtype=torch.float32, context=shape.length).train(training)
    x = torch.randn(1, shape.length, subject.dim, device=subject.device)
    context = torch.randn_like(x) if subject.pattern.cross else None
    mask = right_padding([shape.length - 5], shape.length, subject.device) if masked else None
    with sdpa_kernel(SDPBackend.MATH) if unfold else nullcontext():
        return count(module, x, context, mask)


def _claim(subject: Subject, formula: str, length: int) -> float:
    heads, width = subject.geometry
    names = {
        **subject.config,
        "N": length,
        "M": length,
        "H": heads,
        "E": width,
        "d": subject.dim,
        "causal": subject.pattern.causal,
        "cross": subject.pattern.cross,
    }
    return float(evaluate(formula, names))


LAW = Law(
    "cost",
    "counted operations and bytes grow with the length as the card says",
    run,
    rounds=False,
)
