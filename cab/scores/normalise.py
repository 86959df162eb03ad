r"""A task's scale: 0 is what needs no attention, 1 is the metric's best value.

.. math:: s = \frac{m - f}{c - f}

m is an entry's result, c the metric's best value and f the floor that the task's certificate
holds, each a mean over the task's levels. c and f are constants of the task, so that nobody's
score depends on which entries there are. Values below 0 are possible and kept.
"""

import statistics
from dataclasses import dataclass

from cab.scores.ranges import best_value
from cab.scores.summary import label
from cab.taxonomy import TaskCard

PLATEAU = 0.1
"""A seed has left the plateau at which training starts if its score on validation is this high."""


@dataclass(frozen=True)
class Scale:
    """The values of the metric at score 0 (floor) and at score 1 (top)."""

    floor: float
    top: float

    def score(self, value: float) -> float:
        """Place a value of the metric between floor and top."""
        return (value - self.floor) / (self.top - self.floor)


def scale_of(card: TaskCard, profile: str, reference: str) -> Scale | str:
    """The scale of a task in a profile, or the reason why it has none.

    Args:
        card: the task's card.
        profile: the profile, whose certificate holds the floor.
        reference: the name of the variant with which a certificate compares the controls.
    """
    if profile in card.diagnostic:
        return "diagnostic: not scored in this profile"
    if not card.scored_in(profile):
        return "diagnostic: no certificate in this profile"
    top = best_value(card.metric, card.higher_is_better)
    if top is None:
        return f"diagnostic: its metric, {card.metric}, has no best value"
    floor = floor_of(card, profile, reference)
    if (floor < top) is not card.higher_is_better or floor == top:
        return f"diagnostic: its floor, {floor:g}, is not worse than the best value, {top:g}"
    return Scale(floor, top)


def floor_of(card: TaskCard, profile: str, reference: str) -> float:
    """The floor of a certified task: the mean over its levels.

    A task without levels has one: the best of chance and of all that its certificate measured
    except for the reference and the solvers.
    """
    certificate = card.certificate[profile]
    if certificate.floors:
        return statistics.fmean(certificate.floors)
    attention = {reference, *(label(name, settings) for name, settings in card.solvers.items())}
    values = [value for name, value in certificate.measured.items() if name not in attention]
    if card.chance is not None:
        values.append(card.chance)
    if not values:
        raise ValueError(f"the certificate of {card.name} holds no floor and no control")
    return max(values) if card.higher_is_better else min(values)
