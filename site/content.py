"""What the pages show: published results and cards, gathered once."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from cab.errors import CabError
from cab.measure.record import BenchRow, read_rows
from cab.measure.stale import part_by_source
from cab.profiles import PROFILES
from cab.publishing.status import Rerun, Status, compare, status_of
from cab.records import invariance as invariance_records
from cab.records import precision as precision_records
from cab.records.by_variant import Found, split_by_source
from cab.records.certificates import read_certificate
from cab.records.folders import Published, results_folders
from cab.records.invariance import MeasuredInvariance, read_invariance
from cab.records.precision import MeasuredPrecision, read_precision
from cab.records.sources import installed_sources, installed_task_sources, other_source
from cab.records.store import Record
from cab.registry import Registry, discover_tasks, discover_variants, reference_names
from cab.scores.board import Board, make_board
from cab.scores.reference import ReferenceTables, read_tables
from cab.scores.rows import BoardRow
from cab.scores.summary import entry_label
from cab.scores.table import at_every_rate, records_table
from cab.taxonomy import TaskCard, VariantCard


@dataclass(frozen=True)
class ProfileContent:
    """One profile: its board and its records.

    cells is the records table that the board is made from; statuses are by entry, reruns by key.
    others says of entries, by name, that their results are of another source than the installed.
    """

    profile: str
    board: Board
    cells: pd.DataFrame
    records: Mapping[str, Record]
    statuses: Mapping[str, Status]
    reruns: Mapping[str, Rerun]
    certificates: Mapping[str, Mapping[str, Any]]
    others: Mapping[str, str]

    def records_of(self, variant: str) -> list[Record]:
        """A variant's published records, by task and seed."""
        own = [record for record in self.records.values() if record.variant.name == variant]
        return sorted(own, key=lambda one: (one.task.name, entry_label(one), one.seed, one.key))

    @cached_property
    def on_board(self) -> frozenset[str]:
        """The keys of the records that the board is made from."""
        return frozenset(self.cells["key"])

    @cached_property
    def counting(self) -> pd.DataFrame:
        """The board's cells on the scored tasks."""
        return self.cells[self.cells["task"].isin(list(self.board.scales))]

    def rows_of(self, variant: str) -> list[BoardRow]:
        """A variant's rows, one per settings."""
        return [row for row in self.board.rows if row.variant == variant]


def by_entry(records: Iterable[Record]) -> Iterator[tuple[str, str, list[Record]]]:
    """Yield entry, task and their records by seed."""
    key = lambda one: (entry_label(one), one.task.name)  # noqa: E731
    for (entry, task), group in groupby(sorted(records, key=key), key=key):
        yield entry, task, sorted(group, key=lambda one: one.seed)


@dataclass(frozen=True)
class Content:
    """Everything, with the problems that were met, and what of the user's replaced what."""

    profiles: tuple[ProfileContent, ...]
    variants: Mapping[str, VariantCard]
    tasks: Mapping[str, TaskCard]
    reference: str
    zero: str
    published: tuple[ReferenceTables, ...]
    texts: Mapping[str, str]
    kernels: Mapping[str, list[BenchRow]]
    invariance: Mapping[str, MeasuredInvariance]
    precision: Mapping[str, MeasuredPrecision]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def family(self, variant: str) -> str:
        """A variant's family; "unknown" of one whose code is not here."""
        card = self.variants.get(variant)
        return "unknown" if card is None else card.family


def gather(results: Path | None, include: tuple[Path, ...] = ()) -> Content:
    """Read a results folder, and the CHANGELOG and CONTRIBUTING beside it.

    Args:
        results: the folder; None stands for those that `results_folders` finds.
    """
    folders = results_folders(results)
    registry = discover_variants(include)
    known = discover_tasks(include)
    variants, tasks = _cards(registry), _cards(known)
    task_sources = installed_task_sources(known)
    problems: list[str] = []
    notes: list[str] = []

    def files(folder: str, pattern: str) -> list[Path]:
        found, replaced = folders.files(folder, pattern)
        notes.extend(replaced)
        return found

    profiles = []
    for name, profile in PROFILES.items():
        if not profile.scored:
            continue
        published = folders.read(name, reference_names(registry))
        problems += published.problems
        notes += published.notes
        if published.records or not profiles:
            certificates = _certificates(files(f"certificates/{name}", "*.json"), tasks, problems)
            names = {record.variant.name for record in published.records}
            installed = installed_sources(registry, sorted(names))
            found = _profile(
                name, published, certificates, variants, tasks, installed, task_sources
            )
            problems += [
                f"{entry}, profile {name}: {said}." for entry, said in found.others.items()
            ]
            profiles.append(found)
    texts = {}
    for title in ("CHANGELOG", "CONTRIBUTING"):
        path = folders.project / f"{title}.md"
        texts[title] = path.read_text(encoding="utf-8") if path.is_file() else ""
    return Content(
        tuple(profiles),
        variants,
        tasks,
        *reference_names(registry),
        tuple(read_tables(files("reference", "*.json"), problems)),
        texts,
        _kernels(files("kernels", "*.jsonl"), registry, problems),
        _by_variant(
            files(".", invariance_records.FILE),
            read_invariance,
            "cab check {names} --invariance --write",
            registry,
            problems,
        ),
        _by_variant(
            files(".", precision_records.FILE),
            read_precision,
            "cab probe --state-dtype TYPES --write for each of them",
            registry,
            problems,
        ),
        problems,
        notes,
    )


def _kernels(
    files: Iterable[Path], variants: Registry[VariantCard], problems: list[str]
) -> dict[str, list[BenchRow]]:
    """The measurements of each machine, by file name; not those of sources that changed since."""
    found = {}
    for path in files:
        try:
            rows = read_rows(path)
        except CabError as error:
            problems.append(str(error))
            continue
        found[path.stem], stale = part_by_source(rows, variants)
        if names := sorted({row.name for row in stale}):
            problems.append(
                f"{path}: measurements of {', '.join(names)} are not shown, because their source "
                f"code has changed; measure them again."
            )
    return found


def _by_variant(
    files: Iterable[Path],
    read: Callable[[Path], dict[str, Found]],
    command: str,
    registry: Registry[VariantCard],
    problems: list[str],
) -> Mapping[str, Found]:
    """What was measured of the installed sources, by variant.

    Args:
        command: what measures them again; `{names}` stands for their names.
    """
    found: dict[str, Found] = {}
    for path in files:
        try:
            measured = read(path)
        except CabError as error:
            problems.append(str(error))
            continue
        found, changed = split_by_source(measured, installed_sources(registry, measured))
        if changed:
            again = command.format(names=",".join(changed))
            problems.append(
                f"{path}: results of {', '.join(changed)} are not shown, because their source "
                f"code has changed; run {again}."
            )
    return found


def _cards(registry: Registry[Any]) -> dict[str, Any]:
    return {card.name: card for card in registry.cards()}


def _profile(
    profile: str,
    published: Published,
    certificates: Mapping[str, Mapping[str, Any]],
    variants: Mapping[str, VariantCard],
    tasks: Mapping[str, TaskCard],
    installed: Mapping[str, str],
    task_sources: Mapping[str, str],
) -> ProfileContent:
    table = records_table(published.records, installed, task_sources)
    board = make_board(table, profile, tasks, variants)
    reruns = {
        run.key: compare(run, tasks[run.task].metric, board.scales.get(run.task))
        for run in published.verifications
        if run.task in tasks
    }
    # A rerun counts at any learning rate: all that an entry was given are published.
    every = at_every_rate(table, tasks, profile)
    keys = every.groupby(["entry", "task"])["key"].agg(list).to_dict()
    statuses = {
        row.entry: status_of({task: keys[row.entry, task] for task in row.coverage.tasks}, reruns)
        for row in board.rows
    }
    return ProfileContent(
        profile=profile,
        board=board,
        cells=every[every["counts"]].reset_index(drop=True),
        records={record.key: record for record in published.records},
        statuses=statuses,
        reruns=reruns,
        certificates=certificates,
        others={
            row.entry: said
            for row in board.rows
            if (said := other_source(row.variant, row.source, installed))
        },
    )


def _certificates(
    files: Iterable[Path], tasks: Mapping[str, TaskCard], problems: list[str]
) -> dict[str, Mapping[str, Any]]:
    """The certificates of tasks by name; not those of versions that are no longer installed."""
    found = {}
    for path in files:
        try:
            content = read_certificate(path)
        except CabError as error:
            problems.append(str(error))
            continue
        card = tasks.get(path.stem)
        if card is None or content["version"] == card.version:
            found[path.stem] = content
        else:
            problems.append(
                f"{path} is not shown, because it is of version {content['version']} of the task, "
                f"which is now {card.version}; run cab certify {card.name}."
            )
    return found


def slug(name: str) -> str:
    """A name as part of an address: what is not a letter, digit or hyphen becomes a hyphen.

    Names that are changed so take a hash along, so that no two share a page.
    """
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        return name
    import hashlib

    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
