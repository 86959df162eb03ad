"""`cab show`: print stored results together with softmax and the controls."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from cab.commands import output
from cab.commands.boards import Results
from cab.commands.options import DEFAULT_STORE, Include, Json, Store
from cab.errors import CabError
from cab.profiles import get_profile
from cab.records.folders import results_folders
from cab.records.sources import installed_sources, installed_task_sources, other_source
from cab.records.store import Record, RecordStore
from cab.registry import Registry, discover_tasks, discover_variants, reference_names
from cab.scores.missing import Missing, group_missing
from cab.scores.published_references import PublishedReference, find_stand_ins
from cab.scores.summary import Row, entry_label, rows_of_task, score, summarise
from cab.taxonomy import TaskCard, VariantCard


def show(
    variant: Annotated[str | None, typer.Argument(help="A variant. Default: all.")] = None,
    profile: Annotated[str, typer.Option(help="Profile to show.")] = "quick",
    store: Store = DEFAULT_STORE,
    results: Results = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Show stored results with confidence intervals, together with softmax and none.

    A score of 0 is no attention and 1 is softmax; diagnostic tasks are not scored. If the store
    has no results of softmax or none, published ones of equal task version and recipe are used.
    """
    get_profile(profile)
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    records, problems = RecordStore(store).load()
    for problem in problems:
        output.warn(problem)
    records = [record for record in records if record.task.profile == profile]
    if variant is not None and variant not in {record.variant.name for record in records}:
        variants.entry(variant)  # an unknown name says so, with the nearest ones
        published = results_folders(results).read(profile).records
        there = any(record.variant.name == variant for record in published)
        raise CabError(
            f"{store} has no {profile} results of {variant}. "
            f"Run `cab run --variant {variant} --profile {profile}`."
            + (" Published results are shown by `cab leaderboard`." if there else "")
        )
    if not records and not json:
        raise CabError(
            f"{store} has no {profile} results. "
            f"Run `cab run --variant softmax --profile {profile}`."
        )
    wanted = None if variant is None else {variant}
    found = table(records, variants, tasks, profile, wanted, results)
    if json:
        missing = [
            {"references": one.references, "tasks": one.tasks, "command": one.command(found.seeds)}
            for one in found.missing
        ]
        document = {"profile": profile, "rows": found.lines, "problems": problems}
        output.print_json({**document, "missing": missing})
    else:
        print_lines(found, profile)


@dataclass
class Table:
    """One line per task and entry; what stands in from the published results; what is missing.

    borrowed holds, by task, the published references; apart the entries that were trained by
    another recipe than these, so that they have no score; changed the tasks on which the
    references themselves were trained by another recipe than the task's own.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    borrowed: dict[str, dict[str, PublishedReference]] = field(default_factory=dict)
    apart: dict[str, list[str]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    missing: tuple[Missing, ...] = ()

    @property
    def seeds(self) -> int:
        """The most seeds that an entry has."""
        return max((line["seeds"] for line in self.lines), default=1)


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
    found, missing = Table(), {}
    for task in sorted({row.task for row in rows}):
        own = rows_of_task(rows, task, profile)
        scored = any(_is_scored(row, tasks) for row in own.values())
        borrowed = stand_ins.of_task(own) if scored else {}
        if borrowed:
            found.borrowed[task] = borrowed
        if scored and (absent := _absent(own, borrowed, names)):
            missing[task] = absent
            if any(row.variant in absent and row.entry != row.variant for row in own.values()):
                found.changed.append(task)
        others = {name: other.row for name, other in borrowed.items()}
        ends = own | others
        for row in sorted([*own.values(), *others.values()], key=_order):
            if wanted is not None and row.variant not in wanted and row.entry not in names:
                continue
            is_published = row is others.get(row.entry)
            line = {**output.plain(row), "scored": _is_scored(row, tasks)}
            line |= {"score": None, "published": is_published}
            line["other_source"] = other_source(row.variant, row.source, installed)
            line["other_task_source"] = other_source(row.task, row.task_source or "", sources)
            found.lines.append(line)
            if not line["scored"] or task in missing or row.mean is None:
                continue
            if is_published or all(stand_ins.compares(row, one) for one in borrowed.values()):
                top, floor = (ends[name] for name in names)
                line["score"] = output.plain(score(row, top, floor, tasks.card(task)))
            else:
                found.apart.setdefault(task, []).append(row.entry)
    unexplained = {task: names for task, names in missing.items() if task not in found.changed}
    found.missing = group_missing(unexplained, profile)
    return found


def _place(record: Record) -> tuple[str, int, str | None, str, str]:
    task, source = record.task, record.variant.source_hash
    return task.name, task.version, task.source_hash, entry_label(record), source


def _absent(
    own: dict[str, Row], borrowed: dict[str, PublishedReference], names: tuple[str, str]
) -> tuple[str, ...]:
    """The references that have no result on a task."""
    return tuple(
        name
        for name in names
        if name not in borrowed and (name not in own or own[name].mean is None)
    )


def _is_scored(row: Row, tasks: Registry[TaskCard]) -> bool:
    """Whether this row's version of the task has a certificate in this profile."""
    card = tasks.entries[row.task].card if row.task in tasks.entries else None
    return card is not None and card.version == row.version and card.scored_in(row.profile)


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
    if any(line["interval_source"] == "test examples" for line in lines):
        output.out.print(
            "With one seed, ± covers test examples only. Run with --seeds 3 for ± over seeds.",
            markup=False,
            soft_wrap=True,
        )
    for sentence in _references(found):
        output.out.print(sentence, markup=False, soft_wrap=True)


def _references(found: Table) -> list[str]:
    """Sentences on references that were published, with their machines, and on missing ones."""
    groups: dict[tuple[str, str], list[str]] = {}
    for task, borrowed in found.borrowed.items():
        machines = sorted({one for other in borrowed.values() for one in other.machines})
        groups.setdefault((" and ".join(borrowed), "; ".join(machines)), []).append(task)
    sentences = [
        f"{', '.join(tasks)}: the store has no results of {names}, so published ones are used, "
        f"measured on {machines}."
        for (names, machines), tasks in groups.items()
    ]
    sentences += [
        f"{task}: {', '.join(entries)} has no score, because its recipe differs from that of the "
        f"published {' and '.join(found.borrowed[task])}."
        for task, entries in found.apart.items()
    ]
    if found.changed:
        sentences.append(
            f"There is no score on {', '.join(found.changed)}: the recipe was changed with --set."
        )
    return sentences + [
        f"{one.sentence} Run `{one.command(found.seeds)}`." for one in found.missing
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
    text = "diagnostic" if not line["scored"] else "-"
    if found is not None:
        text = f"{found['value']:z.2f} ± {found['interval']:.2f}"
    seconds = "-" if line["seconds"] is None else f"{line['seconds']:.0f}"
    names = line["task"], line["pattern"], f"{line['metric']} {arrow}", _entry(line)
    return (*names, mean, seeds, text, seconds)
