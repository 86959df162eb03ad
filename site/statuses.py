"""The verification status of each entry, from the reruns of its published records."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from cab.publishing.status import Rerun, Status, compare, status_of
from cab.records.folders import Published
from cab.scores.board import Board
from cab.scores.summary import entry_label
from cab.taxonomy import TaskCard


def reruns_of(
    published: Published, board: Board, tasks: Mapping[str, TaskCard]
) -> dict[str, Rerun]:
    """The reruns by the keys of their cells, compared with what is published."""
    return {
        run.key: compare(run, tasks[run.task].metric, board.scales.get(run.task))
        for run in published.verifications
        if run.task in tasks
    }


def statuses_of(
    board: Board,
    published: Published,
    shown: Collection[str],
    tasks: Mapping[str, TaskCard],
) -> dict[str, Status]:
    """The status of each row of a board, by entry.

    A rerun at a learning rate that was not chosen counts as well: all five cells are published.

    Args:
        board: the board.
        published: the records and their reruns.
        shown: the keys of the records from which the board is made.
        tasks: all tasks.
    """
    reruns = reruns_of(published, board, tasks)
    sources = {one.variant.source_hash for one in published.records if one.key in shown}
    keys: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in published.records:
        card = tasks.get(one.task.name)
        if one.variant.source_hash in sources and card and one.task.version == card.version:
            keys[entry_label(one), one.task.name].append(one.key)
    return {
        row.entry: status_of({task: keys[row.entry, task] for task in row.coverage.tasks}, reruns)
        for row in board.rows
    }
