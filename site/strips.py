"""Small drawings inside tables, as numbers for a template: where lines begin and dots stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cab.records.store import CurvePoint
from cab.scores.estimates import Estimated, Interval

MARGIN = 6.0


@dataclass(frozen=True)
class Axis:
    """A horizontal axis of a given width in pixels, shared by all strips of a table."""

    low: float
    high: float
    width: float

    def x(self, value: float) -> float:
        """Where a value stands; beyond an end it is held there."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(MARGIN + share * (self.width - 2 * MARGIN), 1)

    def outside(self, value: float) -> bool:
        """Whether a value is beyond an end."""
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class Strip:
    """A dot with its lines: `all_` over seeds and tasks if asked for, `seeds` over seeds alone."""

    dot: float
    all_: tuple[float, float] | None
    seeds: tuple[float, float] | None
    cut: bool
    label: str


def score_axis(scores: Iterable[Estimated], width: float = 220) -> Axis:
    """An axis for scores: 0 and 1 with some air, further if intervals need it, to -0.5 and 1.6."""
    low, high = -0.1, 1.1
    for score in scores:
        interval = score.interval() or Interval(score.point, score.point)
        low, high = min(low, interval.low), max(high, interval.high)
    return Axis(max(low, -0.5), min(high, 1.6), width)


def strip(score: Estimated, axis: Axis, unit: str = "score", tasks: bool = False) -> Strip:
    """Place a score on an axis, with its interval over seeds and, if asked for, over tasks."""
    interval, wide = score.interval(), score.interval(tasks=True)
    label = f"{unit} {score.point:.2f}"
    if interval is None or wide is None:
        return Strip(axis.x(score.point), None, None, axis.outside(score.point), label)
    return Strip(
        axis.x(score.point),
        (axis.x(wide.low), axis.x(wide.high)) if tasks else None,
        (axis.x(interval.low), axis.x(interval.high)),
        axis.outside(score.point),
        f"{label}, 95 % interval {interval.low:.2f} to {interval.high:.2f}",
    )


@dataclass(frozen=True)
class Spark:
    """A curve of losses: the points of a line, and what it says in words."""

    points: str
    label: str


def spark(curve: Sequence[CurvePoint], top: float, width: float = 90, height: float = 22) -> Spark:
    """Draw losses from `top` down to 0, the steps from left to right."""
    last = curve[-1].step
    points = " ".join(
        f"{1 + (width - 2) * point.step / last:.1f},"
        f"{1 + (height - 2) * (1 - min(max(point.loss / top, 0.0), 1.0)):.1f}"
        for point in curve
    )
    return Spark(points, f"training loss from {curve[0].loss:.2f} to {curve[-1].loss:.2f}")
