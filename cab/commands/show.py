"""`cab show`: the stored results, beside the reference and the controls."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from cab.commands import output
from cab.commands.options import DEFAULT_STORE, Include, Json, Store
from cab.errors import CabError
from cab.profiles import get_profile
from cab.records.store import Record, RecordStore
from cab.registry import Registry, discover_tasks, discover_variants, name_of_role
from cab.scores.summary import Row, rows_of_task, score, summarise
from cab.taxonomy import TaskCard, VariantCard


def show(
    variant: Annotated[str | None, typer.Argument(help="A variant; all of them if none.")] = None,
    profile: Annotated[str, typer.Option(help="The profile to show.")] = "quick",
    store: Store = DEFAULT_STORE,
    include: Include = None,
    json: Json = False,
) -> None:
    """Show stored results with their intervals, beside softmax and none.

    Scores are 0 for no attention and 1 for softmax; diagnostic tasks have none.
    """
    get_profile(profile)
    variants, tasks = discover_variants(tuple(include or ())), discover_tasks()
    records, problems = RecordStore(store).load()
    for problem in problems:
        output.warn(problem)
    records = [record for record in records if record.task.profile == profile]
    if variant is not None and variant not in {record.variant.name for record in records}:
        variants.entry(variant)  # an unknown name says so, with the nearest ones
        raise CabError(
            f"{store} holds no {profile} results of {variant}. "
            f"Run `cab run --variant {variant} --profile {profile}`."
        )
    if not records and not json:
        raise CabError(f"{store} holds no {profile} results. Run `cab run --variant softmax`.")
    lines = table(records, variants, tasks, profile, None if variant is None else {variant})
    if json:
        output.print_json({"profile": profile, "rows": lines, "problems": problems})
    else:
        print_lines(lines, profile)


def table(
    records: Iterable[Record],
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    profile: str,
    wanted: set[str] | None,
) -> list[dict[str, Any]]:
    """One line per task and entry, with its score; the reference and controls always stand by."""
    rows = summarise(records)
    reference, zero = name_of_role(variants, "reference"), name_of_role(variants, "zero")
    lines = []
    for task in sorted({row.task for row in rows}):
        by_entry = rows_of_task(rows, task, profile)
        for entry, row in sorted(by_entry.items(), key=lambda item: _order(item[1])):
            beside = entry in (reference, zero)
            if wanted is not None and row.variant not in wanted and not beside:
                continue
            found = None
            scored = _is_scored(row, tasks)
            if scored and reference in by_entry and zero in by_entry:
                found = score(row, by_entry[reference], by_entry[zero], tasks.card(task))
            lines.append({**output.plain(row), "scored": scored, "score": output.plain(found)})
    return lines


def _is_scored(row: Row, tasks: Registry[TaskCard]) -> bool:
    """Whether this row's version of the task has its proof of necessity in this profile."""
    card = tasks.entries[row.task].card if row.task in tasks.entries else None
    return card is not None and card.version == row.version and card.scored_in(row.profile)


def _order(row: Row) -> tuple[int, float]:
    if row.mean is None:
        return 1, 0.0
    return 0, -row.mean if row.higher_is_better else row.mean


def print_lines(lines: list[dict[str, Any]], profile: str) -> None:
    """Print the table, and what its columns mean."""
    output.print_table(
        f"Results of profile {profile}, on test examples",
        ("task", "pattern", "metric", "entry", "mean ± 95 %", "seeds", "score", "seconds"),
        [_cells(line) for line in lines],
    )
    shortcuts = {line["task"]: line["shortcuts"] for line in lines if line["shortcuts"]}
    for task, known in shortcuts.items():
        text = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
        output.out.print(f"{task} without training: {text}", markup=False, soft_wrap=True)
    for line in (line for line in lines if line["lengths"]):
        text = ", ".join(
            f"{factor}x {value if isinstance(value, str) else format(value, '.3f')}"
            for factor, value in line["lengths"].items()
        )
        output.out.print(
            f"{line['task']}, {line['entry']}, by length: {text}", markup=False, soft_wrap=True
        )
    for line in (line for line in lines if line["evaluations"]):
        text = ", ".join(f"{name} {value:.3f}" for name, value in line["evaluations"].items())
        output.out.print(
            f"{line['task']}, {line['entry']}, elsewhere: {text}", markup=False, soft_wrap=True
        )
    if any(line["interval_source"] == "test examples" for line in lines):
        output.out.print(
            "One seed: ± is over test examples only. Run with --seeds 3 for ± over seeds.",
            markup=False,
            soft_wrap=True,
        )


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
    names = line["task"], line["pattern"], f"{line['metric']} {arrow}", line["entry"]
    return (*names, mean, seeds, text, seconds)
