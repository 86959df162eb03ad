"""The published results: `results/<profile>/<variant>.jsonl`, a record a line, sorted by key.

The folder is the leaderboard's only source. Its files are canonical, so that a pull request shows
what changed: one way to write a record, curves thinned, paths of the author's machine cut short.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from cab.errors import CabError
from cab.profiles import PROFILES
from cab.records.copies import without_copies
from cab.records.fields import Finite, Line, Name, Seed, first_fault
from cab.records.files import alone, parse_json, read_text, whole
from cab.records.parts import Part
from cab.records.rates import without_seeds_beside
from cab.records.store import CurvePoint, Environment, Record
from cab.taxonomy import NAME

CURVE_POINTS = 12
"""How many points of a curve are published."""

LARGEST_FILE = 10_000_000
"""Bytes of a file of results that are read: hundreds of cells take a tenth of it."""

VERIFIED = "verified"
"""The folder, beside those of the profiles, in which reruns are kept."""


class Verification(Part):
    """A rerun of one published cell: the published value and the value that it gave.

    Who reads it compares `published` with the record (`matching`), and decides by himself whether
    the two values agree: nothing here says so.
    """

    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    task: Name
    seed: Seed
    published: Finite
    value: Finite
    environment: Environment
    git_revision: Line | None


def canonical_line(item: Record | Verification) -> str:
    """The one way to write an item: sorted keys, no blanks, no NaN; without the line's end."""
    data = item.model_dump(mode="json")
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    # These two end a line for some readers, though not for JSON.
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def for_publication(record: Record) -> Record:
    """Thin the curve, cut absolute paths in the command short, and drop evaluations.

    Of a path the last part stays. Evaluations (`cab lm-eval`, `cab probe`) need the trained
    weights, and no rerun of the cell repeats them, so they stay in the author's store.
    """
    words = [
        Path(word).name if Path(word).is_absolute() else word
        for word in _words(record.provenance.command)
    ]
    provenance = record.provenance.model_copy(update={"command": shlex.join(words)})
    return record.model_copy(
        update={"curve": thinned(record.curve), "provenance": provenance, "evaluations": ()}
    )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def thinned(curve: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    """At most `CURVE_POINTS` points, evenly spread, the last among them; losses in six digits."""
    return tuple(
        curve[place].model_copy(update={"loss": float(f"{curve[place].loss:.6g}")})
        for place in thinned_places(len(curve))
    )


def thinned_places(n: int) -> list[int]:
    """Which of n points of a curve are published."""
    kept = min(n, CURVE_POINTS)
    return [(step + 1) * n // kept - 1 for step in range(kept)]


def results_file(folder: Path, profile: str, variant: str) -> Path:
    """Where a variant's records of a profile are published.

    Raises:
        CabError: the name could lead out of the folder.
    """
    if not NAME.fullmatch(variant):
        raise CabError(
            f"{variant!r} is not a valid name of a variant, so it has no results file. Use "
            f"lower-case letters, digits and single hyphens."
        )
    return folder / profile / f"{variant}.jsonl"


def publishable(record: Record) -> str:
    """Say why a record cannot be published; an empty string if it can."""
    profile = PROFILES.get(record.task.profile)
    if profile is None or not profile.scored:
        return f"profile {record.task.profile} is never scored"
    if not NAME.fullmatch(record.task.name):
        return f"{record.task.name!r} is not a valid name of a task"
    if record.variant.unchecked:
        return "it was run with --unchecked, without checking the laws"
    if record.status == "error":
        return "it ended in error"
    if record.settings.changed:
        return "its recipe was changed with --set, so it cannot be compared"
    return ""


def write_results(path: Path, records: Iterable[Record]) -> int:
    """Publish a variant's records beside those that are published already; return how many.

    Of equal keys the given record replaces the published one. Records of a source other than that
    of the newest given record are dropped, since they are results of another mechanism, and so are
    those of an older version of their task, and further seeds at a learning rate that validation
    does not choose (any more).

    Raises:
        CabError: the file that is there is not one of results, or cannot be written; or a given
            record is of a cell that is published under another key.
    """
    records = list(records)
    with written_alone(path, "cab publish"):
        by_key = {record.key: record for record in read_file(path)} if path.exists() else {}
        by_key |= {record.key: for_publication(record) for record in records}
        newest = max(records, key=lambda one: (one.provenance.ended, one.key))
        source = newest.variant.source_hash
        found = [by_key[key] for key in sorted(by_key)]
        versions: dict[str, int] = {}
        for one in found:
            versions[one.task.name] = max(one.task.version, versions.get(one.task.name, 0))
        kept = [
            one
            for one in found
            if one.variant.source_hash == source and one.task.version == versions[one.task.name]
        ]
        kept = without_seeds_beside(kept)
        _refuse_copies((f"{path} ({one.key})", one) for one in kept)
        write_lines(path, kept)
    return len(kept)


def write_verifications(path: Path, verifications: Iterable[Verification]) -> None:
    """Add reruns to those that are kept in a file; of equal keys the new one counts.

    Raises:
        CabError: the file that is there is not one of reruns, or cannot be written.
    """
    with written_alone(path, "cab verify"):
        by_key = {one.key: one for one in (*read_verifications(path), *verifications)}
        write_lines(path, [by_key[key] for key in sorted(by_key)])


@contextmanager
def written_alone(path: Path, command: str) -> Iterator[None]:
    """Keep other processes from a file while it is read and written anew; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CabError(f"{path} cannot be written: {error}.") from None
    with alone(path, command):
        yield


def write_lines(path: Path, items: Iterable[Record | Verification]) -> None:
    """Put a file of items in its place, all of it or nothing: what stood there stays until then.

    Raises:
        CabError: the folder cannot be written, or the disk is full.
    """
    text = "".join(canonical_line(item) + "\n" for item in items)
    try:
        with whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CabError(f"{path} cannot be written: {error}. It was left as it is.") from None


def read_file(path: Path) -> list[Record]:
    """Read a file of results.

    Raises:
        CabError: it cannot be read, a line is no record, or two are of one cell under different
            keys; the message says which.
    """
    lines = [(number, _parse(Record, line, path, number)) for number, line in _lines(path)]
    _refuse_copies((f"{path}, line {number}", record) for number, record in lines)
    return [record for _, record in lines]


def _refuse_copies(placed: Iterable[tuple[object, Record]]) -> None:
    if problems := without_copies(placed)[1]:
        raise CabError(problems[0])


def read_verifications(path: Path) -> list[Verification]:
    """Read a file of reruns; an empty list if there is no file.

    Raises:
        CabError: as `read_file`.
    """
    if not path.exists():
        return []
    return [_parse(Verification, line, path, number) for number, line in _lines(path)]


def matching(
    records: Iterable[Record], verifications: Iterable[Verification]
) -> tuple[list[Verification], list[str]]:
    """The reruns that are of the given records, and a sentence for each that is not.

    It must name a record's key, and the task, seed and value that this record has.
    """
    by_key = {record.key: record for record in records if record.status == "ok"}
    kept, problems = [], []
    for run in verifications:
        record = by_key.get(run.key)
        if record is None:
            problems.append(
                f"The rerun of {run.key} ({run.task}, seed {run.seed}) is ignored: no published "
                f"record has this key."
            )
            continue
        value = record.metrics.test[record.task.metric].value
        if (run.task, run.seed, run.published) != (record.task.name, record.seed, value):
            problems.append(
                f"The rerun of {run.key} ({run.task}, seed {run.seed}) is ignored: it says that "
                f"{run.published:.6g} was published, and the record says {value:.6g} on "
                f"{record.task.name}, seed {record.seed}."
            )
            continue
        kept.append(run)
    return kept, problems


def read_results(folder: Path, profile: str) -> tuple[list[Record], list[Verification], list[str]]:
    """All records and reruns of a profile, and a sentence for each file that cannot be read."""
    records: list[Record] = []
    verifications: list[Verification] = []
    problems = []
    for path in sorted((folder / profile).glob("*.jsonl")):
        try:
            records += read_file(path)
        except CabError as error:
            problems.append(str(error))
    for path in sorted((folder / VERIFIED / profile).glob("*.jsonl")):
        try:
            verifications += read_verifications(path)
        except CabError as error:
            problems.append(str(error))
    return records, verifications, problems


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        # Split at \n alone: other separators may stand in a string.
        return list(enumerate(read_text(path, LARGEST_FILE).rstrip("\n").split("\n"), 1))
    except FileNotFoundError as error:
        raise CabError(f"{path} cannot be read: {error}.") from None


Item = TypeVar("Item", Record, Verification)


def _parse(kind: type[Item], line: str, path: Path, number: int) -> Item:
    try:
        data = parse_json(line)
    except ValueError as error:
        raise CabError(f"{path}, line {number} is not JSON: {error}.") from None
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        fault = first_fault(error, "the line")
        raise CabError(f"{path}, line {number}: {fault}.") from None
