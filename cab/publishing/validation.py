"""Is a contributed file of results fit to be merged? All problems are listed, not the first."""

import stat
from collections.abc import Sequence
from pathlib import Path

from cab.data import data_directory
from cab.errors import CabError
from cab.profiles import PROFILES
from cab.publishing.problems import Problem
from cab.publishing.provenance import ruler_findings, tree_findings
from cab.publishing.recount import Recount
from cab.publishing.seeds import file_findings, seed_problems
from cab.publishing.soundness import Soundness
from cab.records.results import (
    CURVE_POINTS,
    LARGEST_FILE,
    Verification,
    canonical_line,
    publishable,
    read_file,
)
from cab.records.sources import Sources
from cab.records.store import Record
from cab.registry import Registry, reference_names
from cab.running.replanning import cell_of
from cab.scores.board import Board
from cab.scores.rows import PARAMETER_BUDGET
from cab.taxonomy import NAME, TaskCard, VariantCard

LONGEST_TEXT = 2_000
SUSPICIOUS_SCORE = 1.1


def validate(
    path: Path,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    published: Sequence[Record] = (),
    include: tuple[Path, ...] = (),
    recount: Recount | None = None,
) -> list[Problem]:
    """Check one file `<folder>/<profile>/<variant>.jsonl`.

    Form: place, name, size, schema, canonical lines sorted by key, no NaN. Content: every record
    is of this variant and profile, was checked, and has the key that the installed source, task
    and recipe give today, and its numbers are possible (`soundness`).

    Args:
        path: the file.
        variants: with the contributed variant among them.
        tasks: all tasks.
        published: records of the same profile, for those of the references.
        include: files of variants that are not installed.
        recount: computes what needs no training; by default a new one.
    """
    place = _place(path)
    if place:
        return [Problem("error", str(path), text) for text in place]
    try:
        records = read_file(path)
    except CabError as error:
        return [Problem("error", str(path), str(error))]
    found = _form(path, records) + [
        Problem("error", str(path), text) for text in seed_problems(records)
    ]
    recount = recount or Recount(variants, tasks, data_directory())
    sources = Sources()
    sound = Soundness(published, reference_names(variants), recount)
    for number, record in enumerate(records, 1):
        where = f"{path}, line {number}"
        found += [Problem("error", where, text) for text in _content(path, record)]
        try:
            cell = cell_of(record, variants, tasks, include, sources=sources)
        except CabError as error:
            found.append(Problem("error", where, str(error)))
            continue
        task, card = record.task, cell.task
        said = (task.metric, task.higher_is_better, task.pattern, task.domain)
        if said != (card.metric, card.higher_is_better, card.pattern, card.domain):
            found.append(Problem("error", where, f"it describes {card.name} not as its card does"))
            continue
        found += [Problem(kind, where, text) for kind, text in sound.record(record, cell)]
    for kind, text in (*sound.together(), *file_findings(records, _card(path, variants), tasks)):
        found.append(Problem(kind, str(path), text))
    return found + _over_budget(path, records, published, variants)


def trace(
    path: Path, variants: Registry[VariantCard], verifications: Sequence[Verification]
) -> list[Problem]:
    """Check where the records of a file come from: commit, tree and machine (`provenance`).

    This is apart from `validate`, since it is no reason not to rerun them: a rerun on another
    machine is what a reference may lack. A file that cannot be read has no problem here.

    Args:
        path: the file.
        variants: with the file's variant among them.
        verifications: the reruns of the same profile.
    """
    try:
        records = read_file(path)
    except CabError:
        return []
    card = _card(path, variants)
    role = card.role if card else None
    findings = (*tree_findings(records, role), *ruler_findings(records, verifications, role))
    return [Problem(kind, str(path), text) for kind, text in findings]


def _card(path: Path, variants: Registry[VariantCard]) -> VariantCard | None:
    return {card.name: card for card in variants.cards()}.get(path.stem)


def _place(path: Path) -> list[str]:
    """Problems of the file itself, before it is read."""
    found = []
    try:
        status = path.lstat()
    except OSError as error:
        return [f"it cannot be read: {error}"]
    if not stat.S_ISREG(status.st_mode):
        return ["it is no plain file (a link, perhaps)"]
    if path.parent.is_symlink():
        found.append("its folder is a link")
    if status.st_size > LARGEST_FILE:
        found.append(f"it has {status.st_size} bytes; {LARGEST_FILE} are allowed")
    if path.suffix != ".jsonl" or not NAME.fullmatch(path.stem):
        found.append("its name is not a variant's (lower case, digits, single hyphens) and .jsonl")
    profile = PROFILES.get(path.parent.name)
    if profile is None or not profile.scored:
        scored = ", ".join(name for name, one in PROFILES.items() if one.scored)
        found.append(f"its folder is not a scored profile ({scored})")
    return found


def _form(path: Path, records: Sequence[Record]) -> list[Problem]:
    found = []
    keys = [record.key for record in records]
    if keys != sorted(set(keys)):
        found.append(Problem("error", str(path), "its lines are not sorted by key, each key once"))
    text = "".join(canonical_line(record) + "\n" for record in records)
    if path.read_bytes() != text.encode():
        found.append(
            Problem("error", str(path), "its lines are not in canonical form: use `cab publish`")
        )
    return found


def _content(path: Path, record: Record) -> list[str]:
    found = []
    if record.variant.name != path.stem:
        found.append(f"it is a record of {record.variant.name!r}")
    if record.task.profile != path.parent.name:
        found.append(f"it is a record of profile {record.task.profile!r}")
    elif reason := publishable(record):
        found.append(f"it is not to be published: {reason}")
    if len(record.curve) > CURVE_POINTS:
        found.append(f"its curve has {len(record.curve)} points; {CURVE_POINTS} are published")
    texts = (record.message, record.provenance.command, *record.environment.model_dump().values())
    for text in texts:
        if isinstance(text, str) and (len(text) > LONGEST_TEXT or not _printable(text)):
            found.append("a text in it is too long or holds control characters")
    return found


def _printable(text: str) -> bool:
    return all(character.isprintable() or character in "\n\t" for character in text)


def _over_budget(
    path: Path,
    records: Sequence[Record],
    published: Sequence[Record],
    variants: Registry[VariantCard],
) -> list[Problem]:
    """Entries with more parameters than the reference allows, for a person to look at."""
    references = {card.name for card in variants.cards() if card.role == "reference"}
    allowed: dict[str, float] = {}
    for one in published:
        if one.variant.name in references and one.variant.parameters is not None:
            allowed[one.task.name] = PARAMETER_BUDGET * one.variant.parameters
    found = {}
    for record in records:
        budget, own = allowed.get(record.task.name), record.variant.parameters
        if budget is not None and own is not None and own > budget:
            found[record.task.name] = (
                f"{own} parameters on {record.task.name}, over the budget of {budget:.0f}"
            )
    return [Problem("look", str(path), text) for text in found.values()]


def suspicious(board: Board, variant: str) -> list[str]:
    """Scores of a variant that ask for a look: well above the reference and its noise."""
    found = []
    for row in board.rows:
        if row.variant != variant or row.role != "entry":
            continue
        for task, result in row.results.items():
            if result.score is not None and result.score.point > SUSPICIOUS_SCORE:
                text = f"{row.entry} scores {result.score.point:.2f} on {task}; the reference is 1"
                found.append(text)
    return found
