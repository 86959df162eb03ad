"""`cab leaderboard`: the board in the terminal."""

from typing import TYPE_CHECKING

from cab.commands.common import output
from cab.commands.common.boards import (
    FromStore,
    Results,
    ScoredProfile,
    load_board,
)
from cab.commands.common.options import Include, Json, Patterns, read_patterns
from cab.errors import CabError
from cab.taxonomy import Pattern

if TYPE_CHECKING:
    from cab.scores.rows import BoardRow


def leaderboard(
    profile: ScoredProfile = "quick",
    pattern: Patterns = None,
    results: Results = None,
    store: FromStore = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Print the board: scores with 95 % confidence intervals, rank sets and coverage.

    Score 0 is what needs no attention; score 1 is a solved task. With a single --pattern the ranks
    are those of that pattern.
    """
    asked = read_patterns(pattern or [])
    board, _, _ = load_board(results, store, profile, tuple(include or ()))
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
        f"CAB, profile {profile}: 0 needs no attention, 1 is solved",
        ("rank", "entry", "score [95 %]", *shown, "coverage", "seeds", "notes"),
        [_cells(row, shown, asked) for row in rows],
    )
    for sentence in _explanations(rows):
        output.out.print(sentence, markup=False, soft_wrap=True)


def _explanations(rows: "list[BoardRow]") -> list[str]:
    """Sentences on the columns, and on those marks that are in the table."""
    from cab.scores.rows import PARAMETER_BUDGET

    found = [
        "Intervals are over seeds, on these tasks. A rank of 2-5 among 9 entries means that 1 is "
        "significantly better and 4 are significantly worse (Welch's test over seeds, corrected "
        "for all pairs, 5 %). Only entries with complete results on the same tasks are ranked "
        "together."
    ]
    if any(row.size_mark for row in rows):
        found.append(
            f"size: more than {PARAMETER_BUDGET - 1:.0%} more parameters than softmax in the same "
            f"place; such entries are ranked like the others."
        )
    if any(row.trial for row in rows):
        found.append(
            "trial: not all learning rates or too few seeds were run, so the entry is not ranked."
        )
    if any(row.failures for row in rows):
        found.append(
            "failed: so many seeds ended without a result. The score is the mean of the others, "
            "and the entry is not ranked."
        )
    if any(row.plateau[0] < row.plateau[1] for row in rows):
        found.append(
            "on the plateau: so many seeds stayed below .1 of the scale on validation until the "
            "end of training."
        )
    return found


def _cells(
    row: "BoardRow", shown: tuple[Pattern, ...], asked: tuple[Pattern, ...]
) -> tuple[str, ...]:
    from cab.scores.report import interval_text

    rank = str(row.ranks or "")
    if len(asked) == 1:
        rank = str(row.ranks_in.get(asked[0], ""))
    elif row.ranks is None and row.role != "entry":
        rank = row.role_words
    patterns = [interval_text(row.patterns.get(pattern)) for pattern in shown]
    return (
        rank,
        row.entry,
        interval_text(row.score),
        *patterns,
        str(row.coverage),
        str(row.seeds),
        ", ".join(row.marks),
    )
