"""What the board says, in a few sentences whose numbers are computed from the records.

A sentence calls a difference significant only where Welch's test over seeds says so, corrected by
Holm's method for the number of differences that the sentence looks at.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from cab.analysis.variance import Components
from cab.scores.board import Board
from cab.scores.estimates import Estimated, mean_over_tasks
from cab.scores.rank_sets import LEVEL, holm
from cab.scores.ranking import rankable
from cab.scores.report import interval_text
from cab.scores.rows import RANKED_ROLES, BoardRow
from cab.taxonomy import Domain, Pattern, TaskCard

Order = Sequence[tuple[str, Sequence[str]]]
"""Groups of entries in a published order, the best first: words for a group, and its entries."""

LARGE = 0.3
"""A change of the score that is called large."""


def findings(
    board: Board,
    tasks: Mapping[str, TaskCard],
    components: Mapping[Pattern, Components],
    recall: Order,
) -> list[str]:
    """Return at most eight sentences; each is left out where the records do not carry it.

    Args:
        board: the board of a profile.
        tasks: all task cards.
        components: of each pattern, the variance of the scores by what it comes from.
        recall: the published order of entries on exact recall. Nothing is said of the order
            within a group.
    """
    return [
        *_leaders(board, tasks),
        *_reference_beaten(board, tasks),
        *_rates(board),
        *_published_order(board, tasks, recall),
        *_reliabilities(components),
    ]


def _leaders(board: Board, tasks: Mapping[str, TaskCard]) -> Iterator[str]:
    """Yield who leads each pattern; patterns with two entries share a sentence."""
    of_two = []
    for pattern in Pattern:
        scores = _ranked(board, tasks, pattern)
        if len(scores) < 2:
            continue
        order = sorted(scores, key=lambda entry: -scores[entry].point)
        leaders = [name for name in order if board.row(name).ranks_in[pattern].best == 1]  # type: ignore[union-attr]
        if len(scores) == 2:
            apart = "is" if len(leaders) == 1 else "is not"
            of_two.append(
                f"{_scored(scores, order[0])} {apart} significantly better than "
                f"{_scored(scores, order[1])} in {pattern}"
            )
            continue
        rest = [name for name in order if name not in leaders]
        sentence = (
            f"Of {len(order)} ranked entries in {pattern.words}-attention ({pattern}), none is "
            f"significantly better than {_listed([_scored(scores, one) for one in leaders])}"
        )
        if rest:
            sentence += f"; {_scored(scores, rest[0])} comes next"
        if len(rest) > 1:
            sentence += f" and {_scored(scores, rest[-1])} last"
        yield f"{sentence}."
    if of_two:
        yield f"Where only two entries are ranked, {_listed(of_two)}."


def _reference_beaten(board: Board, tasks: Mapping[str, TaskCard]) -> Iterator[str]:
    """Yield on which tasks an entry is significantly better than the reference."""
    reference = board.reference
    if reference is None:
        return
    gaps = {
        (task, row.entry): row.results[task].score.minus(reference.results[task].score)  # type: ignore[union-attr, arg-type]
        for row in board.rows
        for task in row.coverage.tasks
        if row.role == "entry" and not row.obstacle({task}) and not reference.obstacle({task})
    }
    tested = {pair: p for pair, gap in gaps.items() if (p := gap.p_value()) is not None}
    if not tested:
        return
    p_values = holm(tested)
    better = sorted(pair for pair in tested if p_values[pair] < LEVEL and gaps[pair].point > 0)
    worse = sum(p < LEVEL and gaps[pair].point < 0 for pair, p in p_values.items())
    name = reference.entry
    if not better:
        yield (
            f"No entry is significantly better than {name} on any task; {worse} of {len(tested)} "
            f"pairs of entry and task are significantly worse."
        )
        return
    named = [f"{entry} on {task} (by {gaps[task, entry].point:.2f})" for task, entry in better]
    are = "is" if len(better) == 1 else "are"
    yield (
        f"Of {len(tested)} pairs of entry and task, {len(better)} {are} significantly better than "
        f"{name}, {_listed(named)}, and {worse} significantly worse."
    )


def _rates(board: Board) -> Iterator[str]:
    """Yield how much the learning rate matters."""
    changes = {
        (task, row.entry): spread / abs(scale.top - scale.floor)
        for row in board.rows
        for task, scale in board.scales.items()
        if row.role in RANKED_ROLES
        and task in row.results
        and (spread := row.results[task].tuning.sensitivity) is not None
    }
    if not changes:
        return
    task, entry = max(changes, key=lambda pair: (changes[pair], pair))
    large = sum(one > LARGE for one in changes.values())
    yield (
        f"From the worst to the best learning rate tried, the score of an entry on a task changes "
        f"by {statistics.median(changes.values()):.2f} in the median of {len(changes)} pairs and "
        f"by more than {LARGE:g} in {large}; it changes most for {entry} on {task} (by "
        f"{changes[task, entry]:.2f})."
    )


def _published_order(board: Board, tasks: Mapping[str, TaskCard], order: Order) -> Iterator[str]:
    """Yield how far the published order on exact recall is found again."""
    recall = {
        task
        for task in board.scales
        if tasks[task].pattern == Pattern.CS and tasks[task].domain == Domain.RETRIEVAL
    }
    rows = [
        (place, row)
        for place, (_, entries) in enumerate(order)
        for row in board.rows
        if row.entry in entries and recall and not row.obstacle(recall)
    ]
    gaps = {
        (row.entry, other.entry): _on(row, recall).minus(_on(other, recall))
        for (place, row), (later, other) in combinations(rows, 2)
        if place < later
    }
    tested = {pair: p for pair, gap in gaps.items() if (p := gap.p_value()) is not None}
    if not tested:
        return
    significant = {pair for pair, p in holm(tested).items() if p < LEVEL}
    reversed_ = sorted(pair for pair in significant if gaps[pair].point < 0)
    sentence = (
        f"Published results order {len(tested)} pairs of these entries by exact recall (the best "
        f"first: {_listed([words for words, _ in order])}); on {_listed(sorted(recall))} "
        f"together, {len(significant) - len(reversed_)} are significantly in this order, "
        f"{len(reversed_)} reversed"
    )
    if reversed_:
        named = [
            f"{other} is better than {one} by {-gaps[one, other].point:.2f}"
            for one, other in reversed_
        ]
        sentence += f" ({_listed(named)})"
    yield f"{sentence}, and {len(tested) - len(significant)} not decided."


def _reliabilities(components: Mapping[Pattern, Components]) -> Iterator[str]:
    parts = [
        f"{one.reliability:.2f} in {pattern} ({one.entries} entries, {one.tasks} tasks)"
        for pattern, one in components.items()
        if one.entries > 2
    ]
    if parts:
        yield (
            f"The reliability of the mean over a pattern's tasks is {_listed(parts)}; at 1, other "
            f"tasks of the same kind would give the same order of entries."
        )


def _ranked(board: Board, tasks: Mapping[str, TaskCard], pattern: Pattern) -> dict[str, Estimated]:
    needed = {task for task in board.scales if tasks[task].pattern == pattern}
    return rankable(board.rows, pattern, needed)[0]


def _on(row: BoardRow, tasks: set[str]) -> Estimated:
    scores = {task: row.results[task].score for task in sorted(tasks)}
    return mean_over_tasks(Pattern.CS, scores)  # type: ignore[arg-type]


def _scored(scores: Mapping[str, Estimated], entry: str) -> str:
    return f"{entry} ({interval_text(scores[entry])})"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])}, and {words[-1]}"
