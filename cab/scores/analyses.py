"""CAB's own analyses: consistency, benefit of attention, interpolation and extrapolation.

The questions are those of Zhang et al. (2023, arXiv 2210.07661); intervals and refusals are new.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from cab.scores.board import Board
from cab.scores.correlation import Correlation, correlate
from cab.scores.estimates import Estimated, Interval
from cab.scores.rows import BoardRow
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class Consistency:
    """The best pattern score of an entry minus its worst, with its interval.

    real says whether the best and the worst score are significantly different.
    """

    best: Pattern
    worst: Pattern
    spread: float
    interval: Interval | None
    real: bool


def consistency(row: BoardRow) -> Consistency | None:
    """The spread over patterns; None for an entry with results in one pattern or none."""
    if len(row.patterns) < 2:
        return None
    order = sorted(row.patterns, key=lambda pattern: (-row.patterns[pattern].point, pattern))
    best, worst = order[0], order[-1]
    gap = row.patterns[best].minus(row.patterns[worst])
    # Patterns have different tasks, so the choice of tasks is part of the interval.
    return Consistency(best, worst, gap.point, gap.interval(True), gap.differs_from_zero(True))


def pattern_correlations(board: Board) -> dict[tuple[Pattern, Pattern], Correlation]:
    """The scores of each two patterns over the entries; see `correlate`."""
    columns = {
        pattern: {
            row.entry: row.patterns[pattern].point
            for row in board.rows
            if row.role == "entry" and pattern in row.patterns
        }
        for pattern in Pattern
    }
    return {(a, b): correlate(columns[a], columns[b]) for a, b in combinations(Pattern, 2)}


def task_correlations(board: Board) -> dict[tuple[str, str], Correlation]:
    """The scores of each two scored tasks over the entries; see `correlate`."""
    columns: dict[str, dict[str, float]] = {task: {} for task in board.scales}
    for row in board.rows:
        for task, result in row.results.items():
            if row.role == "entry" and result.score is not None:
                columns[task][row.entry] = result.score.point
    return {(a, b): correlate(columns[a], columns[b]) for a, b in combinations(columns, 2)}


@dataclass(frozen=True)
class Benefit:
    """What attention is worth on a task: reference minus no mixing, in the metric's unit.

    Oriented so that more is better. helps is None where they are not significantly different.
    """

    task: str
    difference: float
    interval: Interval | None
    helps: bool | None


def gain(mean: Estimated, zero: Estimated, higher_is_better: bool) -> Estimated:
    """How much better a mean is than another, in the metric's unit."""
    return mean.minus(zero) if higher_is_better else zero.minus(mean)


def benefit_of_attention(
    task: str, reference: Estimated, zero: Estimated, higher_is_better: bool
) -> Benefit:
    """Compare an entry with `none` on a task, scored or diagnostic."""
    gap = gain(reference, zero, higher_is_better)
    helps = gap.point > 0 if gap.differs_from_zero() else None
    return Benefit(task, gap.point, gap.interval(), helps)


@dataclass(frozen=True)
class LengthProfile:
    """A loss at other lengths than that of training, as ratios to the loss at that length.

    interpolation is the worst ratio at shorter lengths, extrapolation that at longer ones; above
    1 the loss is worse there. None where no such length was measured.
    """

    ratios: Mapping[int, float]
    interpolation: float | None
    extrapolation: float | None


def length_profile(losses: Mapping[int, float], trained: int) -> LengthProfile:
    """Relate losses such as perplexity, by length, to the one at the length of training.

    Raises:
        ValueError: the loss at the length of training is missing, or a loss is not above 0.
    """
    if trained not in losses:
        raise ValueError(f"there is no loss at the length of training, {trained}")
    if not all(0 < loss < math.inf for loss in losses.values()):
        raise ValueError("losses must be numbers above 0")
    ratios = {length: losses[length] / losses[trained] for length in sorted(losses)}
    shorter = [ratio for length, ratio in ratios.items() if length < trained]
    longer = [ratio for length, ratio in ratios.items() if length > trained]
    return LengthProfile(ratios, max(shorter, default=None), max(longer, default=None))
