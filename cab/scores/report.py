"""The board as text: CSV and JSON with every task, LaTeX and Markdown with a line per entry."""

import csv
import io
import json
import re
from typing import Any

from cab.scores.board import Board
from cab.scores.estimates import Estimated
from cab.scores.rank_sets import RankSet
from cab.scores.rows import BoardRow, Result
from cab.taxonomy import Pattern


def document(board: Board, rows: int | None = None) -> dict[str, Any]:
    """The board as plain values."""
    return {
        "profile": board.profile,
        "tasks": {
            task: {"at_0": _round(scale.floor), "at_1": _round(scale.top)}
            for task, scale in board.scales.items()
        },
        "left_out": dict(board.left_out),
        "rows": [_plain(row) for row in board.rows[:rows]],
    }


def _plain(row: BoardRow) -> dict[str, Any]:
    return {
        "rank": _ranks(row.ranks),
        "entry": row.entry,
        "variant": row.variant,
        "role": row.role,
        "score": score(row.score),
        "patterns": {str(name): score(one) for name, one in row.patterns.items()},
        "pattern_ranks": {str(name): _ranks(one) for name, one in row.ranks_in.items()},
        "tasks": {name: _result(one) for name, one in row.results.items()},
        "coverage": str(row.coverage),
        "seeds": row.seeds,
        "left_plateau": _left_plateau(row),
        "failed": row.failures,
        "trial": row.trial or None,
        "not_ranked": row.unranked or None,
        "not_ranked_in": {str(name): text for name, text in row.unranked_in.items()},
        "size": None if row.size is None else _round(row.size),
    }


def _result(one: Result) -> dict[str, Any]:
    """An entry on a task; what its learning rates gave is of the seed that tried them."""
    left = None if one.left_plateau is None else _round(one.left_plateau / len(one.values))
    tuning = one.tuning
    return {
        "mean": None if one.mean is None else _round(one.mean.point),
        "values": {str(seed): _round(value) for seed, value in one.values.items()},
        "score": score(one.score),
        "deviation": _rounded(one.deviation),
        "left_plateau": left,
        "outcomes": dict(one.outcomes),
        "trial": one.trial or None,
        "rate": _round(tuning.rate),
        "rates": [
            {
                "rate": _round(tried.rate),
                "status": tried.status,
                "valid": _rounded(tried.valid),
                "test": _rounded(tried.test),
            }
            for tried in tuning.tried
        ],
        "rate_sensitivity": _rounded(tuning.sensitivity),
    }


def _ranks(found: RankSet | None) -> list[int] | None:
    return None if found is None else [found.best, found.worst]


def _left_plateau(row: BoardRow) -> float | None:
    """The share of seeds on scored tasks that left the plateau."""
    left, seeds = row.plateau
    return _round(left / seeds) if seeds else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else _round(value)


def score(one: Estimated | None) -> dict[str, float | None] | None:
    """A score and its interval over seeds, as plain values."""
    if one is None:
        return None
    interval = one.interval()
    low, high = (None, None) if interval is None else (_round(interval.low), _round(interval.high))
    return {"value": _round(one.point), "low": low, "high": high}


def _round(value: float) -> float:
    """Six digits, so that the last bits of another machine's sums change no file."""
    return float(f"{value:.6g}") + 0.0


def to_json(board: Board, rows: int | None = None) -> str:
    """The whole board, or its first rows."""
    return json.dumps(document(board, rows), indent=1, ensure_ascii=False) + "\n"


def to_csv(board: Board, rows: int | None = None) -> str:
    """A line per entry and task, scored or not, with the entry's rank set and score repeated.

    size is the entry's parameters over the reference's.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("score", "score_low", "score_high")
    ranks = ("rank_best", "rank_worst")
    line = (*ranks, "entry", "variant", "role", *head, "coverage", "size", "task")
    of_task = ("seeds", "mean", *(f"task_{name}" for name in head), "outcomes", "rate")
    writer.writerow((*line, *of_task))
    for row in board.rows[:rows]:
        whole = _triple(row.score)
        best_worst = (row.ranks.best, row.ranks.worst) if row.ranks else (None, None)
        names = (row.entry, row.variant, row.role)
        start = (*best_worst, *names, *whole, str(row.coverage), _rounded(row.size))
        for task, one in row.results.items():
            mean = None if one.mean is None else _round(one.mean.point)
            outcomes = " ".join(f"{count} {name}" for name, count in one.outcomes.items())
            writer.writerow(
                [
                    spreadsheet_cell(value)
                    for value in (
                        *start,
                        task,
                        len(one.values),
                        mean,
                        *_triple(one.score),
                        outcomes,
                        _round(one.tuning.rate),
                    )
                ]
            )
    return out.getvalue()


_FORMULA = r"[\s'\"]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
"""How a formula begins, also for readers that skip blanks and quotes, or fold wide characters."""


def spreadsheet_cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return "'" + value if isinstance(value, str) and re.match(_FORMULA, value) else value


def _triple(one: Estimated | None) -> tuple[float | None, float | None, float | None]:
    plain = score(one)
    return (None, None, None) if plain is None else (plain["value"], plain["low"], plain["high"])


def to_markdown(board: Board, rows: int | None = None) -> str:
    """A table of rank sets, scores with intervals over seeds, patterns and coverage."""
    lines = [
        "| rank | entry | score, 95 % | " + " | ".join(Pattern) + " | coverage |",
        "|---|---|---|" + "---|" * (len(Pattern) + 1),
    ]
    for row in board.rows[:rows]:
        name = markdown_cell(row.entry)
        name = name if row.role == "entry" else f"*{name}*"
        name += f" ({', '.join(row.marks)})" if row.marks else ""
        cells = (
            str(row.ranks or ""),
            name,
            interval_text(row.score),
            *_patterns(row),
            str(row.coverage),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def markdown_cell(text: str) -> str:
    """A text in which neither the next cell of a table nor markup begins."""
    return re.sub(r"([\\|<`!\[\]])", r"\\\1", text)


def to_latex(board: Board, rows: int | None = None) -> str:
    """The same table for the package booktabs."""
    lines = [
        r"\begin{tabular}{rlr" + "r" * len(Pattern) + "l}",
        r"\toprule",
        " & ".join(["rank", "entry", r"score, 95\,\%", *Pattern, "coverage"]) + r" \\",
        r"\midrule",
    ]
    for row in board.rows[:rows]:
        name = tex(row.entry)
        name = name if row.role == "entry" else rf"\emph{{{name}}}"
        name += f" ({tex(', '.join(row.marks))})" if row.marks else ""
        cells = (
            str(row.ranks or ""),
            name,
            interval_text(row.score),
            *_patterns(row),
            str(row.coverage),
        )
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def tex(text: str) -> str:
    """A text as LaTeX prints it, with no command in it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(char, "\\" + char if char in "&%$#_{}" else char) for char in text)


def _patterns(row: BoardRow) -> list[str]:
    return [f"{row.patterns[p].point:z.2f}" if p in row.patterns else "" for p in Pattern]


def interval_text(one: Estimated | None) -> str:
    """A score with its interval over seeds: `0.66 [0.58, 0.71]`; one seed has none."""
    if one is None:
        return ""
    interval = one.interval()
    if interval is None:
        return f"{one.point:z.2f}"
    return f"{one.point:z.2f} [{interval.low:z.2f}, {interval.high:z.2f}]"
