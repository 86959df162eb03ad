"""`cab compare`: compare two entries, seed by seed."""

from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands import output
from cab.commands.boards import FromStore, Results, ScoredProfile, load_board
from cab.commands.options import Include, Json
from cab.errors import UnknownName

if TYPE_CHECKING:
    from cab.scores.drawn import Interval


def compare(
    one: Annotated[str, typer.Argument(help="An entry, as named by `cab leaderboard`.")],
    other: Annotated[str, typer.Argument(help="The entry to compare it with.")],
    profile: ScoredProfile = "quick",
    results: Results = None,
    store: FromStore = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Compare two entries, seed by seed.

    Two runs with the same seed use the same data, initialisation and batches. Differences are in
    scores: 1 is the distance from no attention to softmax.
    """
    board, _, tasks = load_board(results, store, profile, tuple(include or ()))
    entries = [row.entry for row in board.rows]
    for name in (one, other):
        if name not in entries:
            raise UnknownName("entry on this board", name, entries)
    from cab.scores.paired import compare as pair

    found = pair(board, one, other, {card.name: card.pattern for card in tasks.cards()})
    if json:
        return output.print_json(found)
    output.print_table(
        f"{one} minus {other}, profile {profile}",
        ("task", "pattern", "seeds", "difference", "95 %"),
        [
            (
                task.task,
                tasks.card(task.task).pattern,
                str(len(task.pairs)),
                f"{task.mean:+.3f}",
                _text(task.interval),
            )
            for task in found.tasks
        ],
    )
    if found.difference is None or found.p_value is None:
        sentence = (
            f"{one} and {other} have no scored task with a common seed, so they cannot be "
            f"compared."
        )
    else:
        sentence = (
            f"Overall {found.difference:+.3f} {_text(found.interval)}, p = {found.p_value:.3g} "
            f"(sign-flip test over {sum(len(task.pairs) for task in found.tasks)} pairs)."
        )
    output.out.print(sentence, markup=False, soft_wrap=True)
    for row in filter(None, map(board.row, (one, other))):
        if row.size_mark:
            text = f"{row.entry}: {row.size_mark} (parameters, compared with softmax)."
            output.out.print(text, markup=False, soft_wrap=True)
    if found.only_one:
        only = ", ".join(found.only_one)
        text = f"Only one of the two has a result on {only}. These tasks are left out."
        output.out.print(text, markup=False, soft_wrap=True)


def _text(interval: "Interval | None") -> str:
    return "[one pair]" if interval is None else f"[{interval.low:+.3f}, {interval.high:+.3f}]"
