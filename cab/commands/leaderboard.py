"""`cab leaderboard`: the board in the terminal."""

from typing import TYPE_CHECKING, Annotated

import typer

from cab.commands import output
from cab.commands.boards import (
    FromStore,
    Results,
    ScoredProfile,
    load_board,
)
from cab.commands.options import Include, Json, Patterns, read_patterns
from cab.errors import CabError
from cab.taxonomy import Pattern

if TYPE_CHECKING:
    from cab.scores.rows import BoardRow


def leaderboard(
    profile: ScoredProfile = "quick",
    pattern: Patterns = None,
    results: Results = None,
    store: FromStore = None,
    together: Annotated[
        bool, typer.Option("--together", help="Rank entries with different coverage together.")
    ] = False,
    include: Include = None,
    json: Json = False,
) -> None:
    """Print the board: scores with 95 % confidence intervals, ranks and coverage.

    Score 0 is the better of no attention and an untrained guess; score 1 is softmax. With a
    single --pattern the ranks are those of that pattern.
    """
    asked = read_patterns(pattern or [])
    board, _, _ = load_board(results, store, profile, tuple(include or ()), together)
    rows = [row for row in board.rows if not asked or set(asked) & set(row.patterns)]
    if json:
        from cab.scores.report import document

        wanted = {row.entry for row in rows}
        found = document(board)
        found["rows"] = [one for one in found["rows"] if one["entry"] in wanted]
        return output.print_json(found)
    if not rows:
        raise CabError(
            f"No entry has a score in {', '.join(asked)} in profile {profile}. Omit --pattern to "
            f"show all entries."
        )
    shown = asked or tuple(Pattern)
    output.print_table(
        f"CAB, profile {profile}: 0 is no attention, 1 is softmax",
        ("rank", "entry", "score [95 %]", *shown, "coverage", "seeds"),
        [_cells(row, shown, asked) for row in rows],
    )
    if board.band is not None:
        output.out.print(
            f"Noise band: other implementations of softmax score {board.band.low:.2f} to "
            f"{board.band.high:.2f}.",
            markup=False,
        )
    output.out.print(
        "Intervals are over seeds and tasks. Ranks compare entries on these tasks, over seeds. "
        "Entries that share a rank (=) are not significantly different from the first in their "
        "group; which entries share a rank depends on the entries that are ranked together. Only "
        "entries with equal coverage and at least 3 seeds on each task are ranked together.",
        markup=False,
        soft_wrap=True,
    )
    if any(row.size_mark for row in rows):
        output.out.print(
            "An entry with over 10 % more parameters than softmax is marked with its size, and "
            "is ranked.",
            markup=False,
            soft_wrap=True,
        )


def _cells(
    row: "BoardRow", shown: tuple[Pattern, ...], asked: tuple[Pattern, ...]
) -> tuple[str, ...]:
    from cab.scores.report import interval_text

    rank = str(row.place or "")
    if len(asked) == 1:
        rank = str(row.places.get(asked[0], ""))
    elif row.place is None and row.role != "entry":
        rank = row.role_words
    patterns = [interval_text(row.patterns.get(pattern)) for pattern in shown]
    return (
        rank,
        f"{row.entry} {row.size_mark}".rstrip(),
        interval_text(row.score),
        *patterns,
        str(row.coverage),
        str(row.seeds),
    )
