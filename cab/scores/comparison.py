"""Two entries compared, on each task, in each pattern and over all, by the test of the ranks."""

from collections.abc import Mapping
from dataclasses import dataclass

from cab.scores.board import Board, mean_over_patterns
from cab.scores.estimates import Estimated, Interval, mean_over_tasks
from cab.scores.rank_sets import LEVEL, corrected_p_values
from cab.scores.ranking import rankable
from cab.scores.rows import BoardRow
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class Difference:
    """The score of one entry minus that of another.

    interval and p_value are those of Welch's test over seeds, so that the interval leaves out 0
    where the p-value is below .05; None where one of them has a single seed on a task.
    """

    name: str
    seeds: tuple[int, int]
    difference: float
    interval: Interval | None
    p_value: float | None

    @classmethod
    def of(cls, name: str, seeds: tuple[int, int], gap: Estimated) -> "Difference":
        """Make one of the difference of two scores."""
        return cls(name, seeds, gap.point, gap.interval(), gap.p_value())


@dataclass(frozen=True)
class PatternDifference(Difference):
    """A difference in a pattern, over the scored tasks on which both entries have results.

    corrected is the p-value after the correction for all pairs of the entries that the pattern
    ranks: at less than .05 the board calls one of the two significantly better. It is None unless
    both are ranked.
    """

    corrected: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the board calls one of the two significantly better."""
        return self.corrected is not None and self.corrected < LEVEL


@dataclass(frozen=True)
class Comparison:
    """One entry minus another over the scored tasks on which both have results.

    overall is the mean over the patterns; None without such a task. only_one names the scored
    tasks on which only one of the two has results.
    """

    one: str
    other: str
    tasks: tuple[Difference, ...]
    patterns: tuple[PatternDifference, ...]
    overall: Difference | None
    only_one: tuple[str, ...]


def compare(board: Board, one: str, other: str, patterns: Mapping[str, Pattern]) -> Comparison:
    """Compare two entries of a board; patterns gives each task's pattern.

    Raises:
        KeyError: the board has no such entry.
    """
    first, second = board.row(one), board.row(other)
    if first is None or second is None:
        raise KeyError(one if first is None else other)
    gaps = {
        task: gap
        for task in sorted(set(first.coverage.tasks) & set(second.coverage.tasks))
        if (gap := _gap(first, second, task)) is not None
    }
    only_one = sorted(set(first.coverage.tasks) ^ set(second.coverage.tasks))

    def seeds(tasks: list[str]) -> tuple[int, int]:
        mine, theirs = (
            min(len(row.results[task].values) for task in tasks) for row in (first, second)
        )
        return mine, theirs

    means, found = [], []
    for pattern in Pattern:
        own = {task: gap for task, gap in gaps.items() if patterns[task] == pattern}
        if own:
            mean = mean_over_tasks(pattern, own)
            means.append(mean)
            plain = Difference.of(pattern, seeds(list(own)), mean)
            corrected = _corrected(board, pattern, patterns, one, other)
            found.append(PatternDifference(**vars(plain), corrected=corrected))
    overall = (
        Difference.of("overall", seeds(list(gaps)), mean_over_patterns(means)) if means else None
    )
    tasks = tuple(Difference.of(task, seeds([task]), gap) for task, gap in gaps.items())
    return Comparison(one, other, tasks, tuple(found), overall, tuple(only_one))


def _gap(first: BoardRow, second: BoardRow, task: str) -> Estimated | None:
    mine, theirs = first.results[task].score, second.results[task].score
    return None if mine is None or theirs is None else mine.minus(theirs)


def _corrected(
    board: Board, pattern: Pattern, patterns: Mapping[str, Pattern], one: str, other: str
) -> float | None:
    """The corrected p-value of two entries among all that the pattern ranks."""
    needed = {task for task in board.scales if patterns[task] == pattern}
    scores, _ = rankable(board.rows, pattern, needed)
    if one == other or not {one, other} <= scores.keys():
        return None
    low, high = sorted((one, other))
    return corrected_p_values(scores)[low, high]
