"""The table of results that `cab show`, `cab run` and `cab sweep` print: its lines, and notes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cab.commands.common import output
from cab.commands.common.ladder import print_levels
from cab.records.folders import results_folders
from cab.records.sources import installed_sources, installed_task_sources, other_source
from cab.records.store import Record
from cab.registry import Registry, reference_names
from cab.scores.normalise import Scale, scale_of
from cab.scores.published_references import PublishedReference, find_stand_ins
from cab.scores.summary import Row, entry_label, rows_of_task, summarise
from cab.taxonomy import TaskCard, VariantCard

SLOW_DATA = 0.25
"""The share of the training time spent waiting for data above which the tables say so."""


@dataclass
class Table:
    """One line per task and entry, and what is shown of the published results.

    borrowed holds, by task, the published references; changed, by task, the entries that have no
    score because the task's recipe was changed.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    borrowed: dict[str, dict[str, PublishedReference]] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)


def table(
    records: Iterable[Record],
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    profile: str,
    wanted: set[str] | None,
    results: Path | None = None,
) -> Table:
    """One line per task and entry, with its score; softmax and none are always included."""
    records = list(records)
    names = reference_names(variants)
    installed = installed_sources(variants, (*names, *(one.variant.name for one in records)))
    sources = installed_task_sources(tasks)
    rows = summarise(records, installed, sources)
    shown = {(row.task, row.version, row.task_source, row.entry, row.source) for row in rows}
    records = [one for one in records if _place(one) in shown]
    published = results_folders(results).read(profile, names).records
    stand_ins = find_stand_ins(records, published, names, installed)
    found = Table()
    for task in sorted({row.task for row in rows}):
        own = rows_of_task(rows, task, profile)
        scales = {entry: _scale(row, tasks, names[0]) for entry, row in own.items()}
        borrowed = stand_ins.of_task(own) if any(scales.values()) else {}
        if borrowed:
            found.borrowed[task] = borrowed
        others = {name: other.row for name, other in borrowed.items()}
        for row in sorted([*own.values(), *others.values()], key=_order):
            if wanted is not None and row.variant not in wanted and row.entry not in names:
                continue
            is_published = row is others.get(row.entry)
            scale = _scale(row, tasks, names[0])
            line = {**output.plain(row), "scored": scale is not None}
            line["to_certify"] = scale is None and _is_of_row(row, tasks)
            line |= {"score": None, "published": is_published}
            line["other_source"] = other_source(row.variant, row.source, installed)
            line["other_task_source"] = other_source(row.task, row.task_source or "", sources)
            found.lines.append(line)
            if scale is None or row.mean is None or row.interval is None:
                continue
            if row.own_recipe:
                half = row.interval / abs(scale.top - scale.floor)
                line["score"] = {"value": scale.score(row.mean), "interval": half}
            else:
                found.changed.setdefault(task, []).append(row.entry)
    return found


def _place(record: Record) -> tuple[str, int, str | None, str, str]:
    task, source = record.task, record.variant.source_hash
    return task.name, task.version, task.source_hash, entry_label(record), source


def _scale(row: Row, tasks: Registry[TaskCard], reference: str) -> Scale | None:
    """The scale of this row's version of its task; None where it is not scored."""
    card = tasks.entries[row.task].card if row.task in tasks.entries else None
    if card is None or card.version != row.version:
        return None
    found = scale_of(card, row.profile, reference)
    return found if isinstance(found, Scale) else None


def _is_of_row(row: Row, tasks: Registry[TaskCard]) -> bool:
    """Whether this row's task is to be scored in its profile, as soon as it is certified there."""
    return row.task in tasks.entries and tasks.card(row.task).in_row(row.profile)


def _order(row: Row) -> tuple[int, float]:
    if row.mean is None:
        return 1, 0.0
    return 0, -row.mean if row.higher_is_better else row.mean


def print_lines(found: Table, profile: str) -> None:
    """Print the table and notes on its columns."""
    lines = found.lines
    output.print_table(
        f"Results of profile {profile}, on test examples",
        ("task", "pattern", "metric", "entry", "mean ± 95 %", "seeds", "score", "seconds"),
        [_cells(line) for line in lines],
    )
    print_levels(lines)
    shortcuts = {line["task"]: line["shortcuts"] for line in lines if line["shortcuts"]}
    for task, known in shortcuts.items():
        text = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
        output.out.print(
            f"{task}, baselines without training: {text}", markup=False, soft_wrap=True
        )
    others: dict[tuple[str, str], list[str]] = {}
    for line in (line for line in lines if line["other_source"]):
        others.setdefault((_entry(line), line["other_source"]), []).append(line["task"])
    edited = {line["task"]: line["other_task_source"] for line in lines}
    for task, said in ((task, said) for task, said in edited.items() if said):
        text = f"{task}: {said}. Rerun the cells for results of the task as it is now."
        output.out.print(text, markup=False, soft_wrap=True)
    for (entry, said), on in others.items():
        output.out.print(f"{entry} on {', '.join(on)}: {said}.", markup=False, soft_wrap=True)
    for line in (line for line in lines if line["lengths"]):
        text = ", ".join(
            f"{factor}x {value if isinstance(value, str) else format(value, '.3f')}"
            for factor, value in line["lengths"].items()
        )
        output.out.print(
            f"{line['task']}, {_entry(line)}, by length: {text}", markup=False, soft_wrap=True
        )
    for line in (line for line in lines if line["evaluations"]):
        text = ", ".join(f"{name} {value:.3f}" for name, value in line["evaluations"].items())
        output.out.print(
            f"{line['task']}, {_entry(line)}, other evaluations: {text}",
            markup=False,
            soft_wrap=True,
        )
    for line in (line for line in lines if (line["data_share"] or 0.0) > SLOW_DATA):
        output.out.print(
            f"{line['task']}, {_entry(line)}: {line['data_share']:.0%} of the time in training "
            f"steps was spent waiting for data.",
            markup=False,
            soft_wrap=True,
        )
    if any(line["interval_source"] == "test examples" for line in lines):
        output.out.print(
            "With one seed, ± covers test examples only. Run with --seeds 3 for ± over seeds.",
            markup=False,
            soft_wrap=True,
        )
    for sentence in (*map(_rates, filter(_has_rates, lines)), *_references(found)):
        output.out.print(sentence, markup=False, soft_wrap=True)


def _has_rates(line: dict[str, Any]) -> bool:
    return bool(line["rates"])


def _rates(line: dict[str, Any]) -> str:
    """What the learning rates of an entry gave, and which one counts."""
    parts = [
        f"{one['rate']:g} {one['status']}"
        if one["test"] is None or one["valid"] is None
        else f"{one['rate']:g} validation {one['valid']:.3f} test {one['test']:.3f}"
        for one in line["rates"]
    ]
    text = f"{line['task']}, {_entry(line)}, learning rate {line['rate']:g} of: {'; '.join(parts)}"
    if line["sensitivity"] is not None:
        text += f" (sensitivity {line['sensitivity']:.3f})"
    return text


def _references(found: Table) -> list[str]:
    """Sentences on references that were published, with their machines, and on changed recipes."""
    groups: dict[tuple[str, str], list[str]] = {}
    for task, borrowed in found.borrowed.items():
        machines = sorted({one for other in borrowed.values() for one in other.machines})
        groups.setdefault((" and ".join(borrowed), "; ".join(machines)), []).append(task)
    sentences = [
        f"{', '.join(tasks)}: the store has no results of {names}, so published ones are shown, "
        f"measured on {machines}."
        for (names, machines), tasks in groups.items()
    ]
    return sentences + [
        f"{task}: no score for {', '.join(entries)}, because the recipe was changed with --set."
        for task, entries in found.changed.items()
    ]


def _entry(line: dict[str, Any]) -> str:
    return line["entry"] + (" (published)" if line["published"] else "")


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
    arrow = "↑" if line["higher_is_better"] else "↓"
    mean = "-"
    if line["mean"] is not None:
        mean = f"{line['mean']:z.3f} ± {line['interval']:.3f}"
    bad = {k: v for k, v in line["outcomes"].items() if k != "ok"}
    seeds = " ".join([str(line["seeds"]), *(f"{count} {name}" for name, count in bad.items())])
    found = line["score"]
    text = "-" if line["scored"] else "not certified" if line["to_certify"] else "diagnostic"
    if line["scored"] and line["trial"]:
        seeds += ", trial"
    if found is not None:
        text = f"{found['value']:z.2f} ± {found['interval']:.2f}"
    seconds = "-" if line["seconds"] is None else f"{line['seconds']:.0f}"
    names = line["task"], line["pattern"], f"{line['metric']} {arrow}", _entry(line)
    return (*names, mean, seeds, text, seconds)
