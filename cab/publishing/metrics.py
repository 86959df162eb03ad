"""What a metric's range says of a mean over examples (the ranges: `cab.scores.ranges`)."""

import math
from dataclasses import dataclass

from cab.scores.ranges import metric_range


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before anything is measured.

    low and high bound the value of one example. share: it is the share of right answers of a
    classifier that is trained by cross-entropy in nats. explained: it is 1 minus the mean squared
    error that is the training loss.
    """

    low: float = -math.inf
    high: float = math.inf
    share: bool = False
    explained: bool = False

    @property
    def span(self) -> float | None:
        """The width of the range, if both ends are known."""
        width = self.high - self.low
        return width if math.isfinite(width) else None

    def possible(self, value: float) -> bool:
        """Whether a mean can have this value; float32 rounding is allowed for."""
        return self.low - ROUNDING <= value <= self.high + ROUNDING

    def largest_error(self, mean: float, n: int) -> float:
        """The largest standard error that n examples of this mean can have.

        Between two bounds it is that of examples at the bounds alone (Bhatia and Davis, 2000);
        with one bound, that of one example which holds the whole distance; else it is infinite.
        """
        if n < 2:
            return 0.0
        below, above = max(0.0, mean - self.low), max(0.0, self.high - mean)
        if math.isfinite(below) and math.isfinite(above):
            return math.sqrt(below * above / (n - 1))
        return min(below, above)


ROUNDING = 1e-5
"""How far a mean of float32 values may lie outside the range that they have."""

CLASSIFIED = ("accuracy", "digit_accuracy", "exact", "exact_match", "value_accuracy")
"""Metrics that are shares of right answers, of tasks whose loss is cross-entropy in nats."""


def metric_of(name: str) -> Metric:
    """What is known of a metric; of one without a range, nothing."""
    reach = metric_range(name)
    return Metric(reach.low, reach.high, share=name in CLASSIFIED, explained=name == "r2")
