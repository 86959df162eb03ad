"""`cab compare`: compare two entries by the test that makes the ranks."""

from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands.common import output
from cab.commands.common.boards import FromStore, Results, ScoredProfile, load_board
from cab.commands.common.options import Include, Json
from cab.errors import UnknownName

if TYPE_CHECKING:
    from cab.scores.comparison import Difference, PatternDifference


def compare(
    one: Annotated[str, typer.Argument(help="An entry, as named by `cab leaderboard`.")],
    other: Annotated[str, typer.Argument(help="The entry to compare it with.")],
    profile: ScoredProfile = "quick",
    results: Results = None,
    store: FromStore = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Compare two entries on each task, in each pattern and over all.

    Differences are in scores: 1 is the distance from what needs no attention to a solved task.
    Intervals and p-values are of Welch's test over seeds, by which ranks are made.
    """
    board, _, tasks = load_board(results, store, profile, tuple(include or ()))
    entries = [row.entry for row in board.rows]
    for name in (one, other):
        if name not in entries:
            raise UnknownName("entry on this board", name, entries)
    from cab.scores.comparison import compare as compared

    found = compared(board, one, other, {card.name: card.pattern for card in tasks.cards()})
    if json:
        return output.print_json(found)
    if found.overall is None:
        sentence = f"{one} and {other} have no scored task in common, so they cannot be compared."
        output.out.print(sentence, markup=False, soft_wrap=True)
    else:
        output.print_table(
            f"{one} minus {other}, profile {profile}",
            ("task", "pattern", "seeds", "difference", "95 %", "p"),
            [_cells(task, tasks.card(task.name).pattern) for task in found.tasks],
        )
        for pattern in found.patterns:
            text = f"{pattern.name}: {_text(pattern)}{_verdict(pattern)}."
            output.out.print(text, markup=False, soft_wrap=True)
        if len(found.patterns) > 1:
            text = f"Mean over patterns: {_text(found.overall)}."
            output.out.print(text, markup=False, soft_wrap=True)
    for row in filter(None, map(board.row, (one, other))):
        if row.marks:
            text = f"{row.entry}: {', '.join(row.marks)}."
            output.out.print(text, markup=False, soft_wrap=True)
    if found.only_one:
        only = ", ".join(found.only_one)
        text = f"Only one of the two has a result on {only}. These tasks are left out."
        output.out.print(text, markup=False, soft_wrap=True)


def _cells(task: "Difference", pattern: str) -> tuple[str, ...]:
    interval, p = task.interval, task.p_value
    return (
        task.name,
        pattern,
        " and ".join(map(str, task.seeds)),
        f"{task.difference:+.3f}",
        "" if interval is None else f"[{interval.low:+.3f}, {interval.high:+.3f}]",
        "" if p is None else f"{p:.3g}",
    )


def _text(found: "Difference") -> str:
    if found.interval is None:
        return f"{found.difference:+.3f} (a task with one seed has no interval)"
    low, high = found.interval.low, found.interval.high
    return f"{found.difference:+.3f} [{low:+.3f}, {high:+.3f}], p = {found.p_value:.3g}"


def _verdict(found: "PatternDifference") -> str:
    if found.corrected is None:
        return ""
    verdict = "significantly different" if found.significant else "not significantly different"
    return f"; {verdict} after correction for all pairs, p = {found.corrected:.3g}"
