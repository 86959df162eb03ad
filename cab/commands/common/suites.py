"""What commands print of a suite: the tables of a published benchmark with one's own results."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from cab.commands.common import output
from cab.records.folders import results_folders
from cab.records.store import Record, RecordStore
from cab.registry import Registry
from cab.scores.reference import ReferenceTables, read_tables
from cab.scores.report import markdown_cell, spreadsheet_cell, tex
from cab.scores.suites import SuiteRow, SuiteTable, suite_tables
from cab.taxonomy import TaskCard, of_suite


def suite_of_store(
    suite: str, tasks: Registry[TaskCard], records: RecordStore, profile: str
) -> list[SuiteTable]:
    """The tables of a suite with the results of a store."""
    own = (record for record in records.scan() if isinstance(record, Record))
    return tables_of(suite, tasks, own, profile)


def tables_of(
    suite: str,
    tasks: Registry[TaskCard],
    records: Iterable[Record],
    profile: str,
    results: Path | None = None,
) -> list[SuiteTable]:
    """The tables of a suite with the results of some records."""
    cards = of_suite(tasks.cards(), suite)
    return suite_tables(suite, cards, records, published_tables(results), profile)


def published_tables(results: Path | None) -> list[ReferenceTables]:
    """The published benchmarks of the results folders; a file that holds none is said."""
    files, problems = results_folders(results).files("reference", "*.json")
    found = read_tables(files, problems)
    for problem in problems:
        output.warn(problem)
    return found


def print_suite(tables: Iterable[SuiteTable]) -> None:
    """Print the tables, and the notes below each."""
    for table in tables:
        output.print_table(table.title, _head(table), _lines(table))
        for note in table.notes:
            output.out.print(note, markup=False, soft_wrap=True)


def _head(table: SuiteTable) -> list[str]:
    names = [f"{one.name} {'↑' if one.higher_is_better else '↓'}" for one in table.columns]
    index = [one if one in ("average", "index") else f"{one} index" for one in table.index]
    return ["entry", *names, *index]


def _lines(table: SuiteTable) -> list[list[str]]:
    return [
        [
            _label(row),
            *map(_number, row.values),
            *(_number(row.index.get(name)) for name in table.index),
        ]
        for row in table.rows
    ]


def _label(row: SuiteRow) -> str:
    return f"{row.entry} (published)" if row.published else row.entry


def _number(value: float | None) -> str:
    """Two digits after the point, or three below ten; a dash for no value."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:z.3f}"


def to_text(tables: Iterable[SuiteTable], form: str) -> str:
    """The tables as md, latex, csv or json."""
    tables = list(tables)
    if form == "json":
        import json

        return json.dumps(output.plain(tables), indent=1, ensure_ascii=False) + "\n"
    write = {"md": _markdown, "latex": _latex, "csv": _csv}[form]
    return "\n".join(map(write, tables))


def _markdown(table: SuiteTable) -> str:
    head = _head(table)
    lines = [f"**{table.title}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(map(markdown_cell, cells))} |" for cells in _lines(table)]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def _latex(table: SuiteTable) -> str:
    arrows = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
    head = [tex(text) for text in _head(table)]
    for arrow, command in arrows.items():
        head = [text.replace(arrow, command) for text in head]
    rows = [[tex(cell) for cell in cells] for cells in _lines(table)]
    body = [" & ".join(cells) + r" \\" for cells in rows]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}"
    lines = [f"% {table.title}", begin, r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*lines, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _csv(table: SuiteTable) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", *_head(table)])
    for row in table.rows:
        cells = (table.title, _label(row), *row.values, *(row.index.get(n) for n in table.index))
        writer.writerow(map(spreadsheet_cell, cells))
    return out.getvalue()
