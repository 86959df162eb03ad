r"""A task's scale: 0 is the better of no attention and a guess, 1 is the reference.

.. math:: s(x) = \frac{x - c}{r - c}, \qquad c = \text{the better of } z \text{ and chance}

x, r and z are means over seeds of the entry, the reference and no mixing, in the metric's unit.
The quotient orients itself: for a metric whose lower values are better both differences change
their sign. Values above 1 and below 0 are possible and kept. The scale of a task depends on the
reference and the controls alone, so that adding an entry changes no other entry's score.
"""

from dataclasses import dataclass

SMALLEST_SPAN = 1e-9
"""Ends of a scale that are nearer are equal, but for what was rounded on the way."""


@dataclass(frozen=True)
class Scale:
    """floor is at 0, top at 1, in the metric's unit; guessed says that the floor is chance."""

    floor: float
    top: float
    guessed: bool

    def score(self, value: float) -> float:
        """Place a value of the metric between floor and top."""
        return (value - self.floor) / (self.top - self.floor)


def scale_of(
    reference: float, zero: float, chance: float | None, higher_is_better: bool
) -> Scale | None:
    """The scale of a task; None where the reference is not above the floor."""
    sign = 1 if higher_is_better else -1
    guessed = chance is not None and sign * chance > sign * zero
    floor = chance if guessed and chance is not None else zero
    if sign * (reference - floor) < SMALLEST_SPAN:
        return None
    return Scale(floor, reference, guessed)
